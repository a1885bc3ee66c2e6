"""One output, and the command that is typed again and again while its process is killed.

The simulator is the witness of what was called for, by prompt. Used by ``test_kill.py`` and
``benchmarks/kills.py``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from batchllm.simulator import Simulator, serve
from tests.e2e.cli_kit import read_rows, start_program
from tests.e2e.patience import PATIENCE

ITEMS = 40
CALLS = 4
WINDOW = 2 * CALLS


class Forks:
    """Processes of the program, with what they say in a file."""

    def __init__(self) -> None:
        self._alive: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, words: list[str], notes: Path, point: str | None, number: int) -> int:
        """Start the program; give its process's number."""
        before: list[tuple[str, list[Any]]] = [("tests.e2e.killed:keep_to_the_calendar", [])]
        if point is not None:
            before.append(("tests.e2e.killed:lay", [point, number]))
        null = subprocess.DEVNULL
        with notes.open("ab") as file:
            process = start_program(words, before=before, stdin=null, stdout=null, stderr=file)
        self._alive[process.pid] = process
        return process.pid

    def wait(self, process: int) -> int:
        """Wait for its end: its exit code, below 0 for a signal."""
        return self._alive.pop(process).wait(PATIENCE)

    def close(self) -> None:
        """End what is left of them."""
        for process in self._alive.values():
            process.kill()
            process.wait()


@contextmanager
def forks() -> Generator[Forks]:
    """Let processes be started that do not outlive the block."""
    made = Forks()
    try:
        yield made
    finally:
        made.close()


class Witness:
    """A simulator in a thread, which has seen every call."""

    def __init__(self, portal: BlockingPortal, simulator: Simulator, url: str) -> None:
        self.url = url
        self._portal, self._simulator = portal, simulator

    def prompts(self) -> list[str]:
        """Give the prompts of all requests that arrived whole."""
        return self._portal.call(self._prompts)

    def _prompts(self) -> list[str]:
        return [entry.prompt for entry in self._simulator.log if entry.prompt]


@contextmanager
def witness() -> Generator[Witness]:
    """Keep a simulator for the block."""
    simulator = Simulator("instant")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(simulator)) as server,
    ):
        yield Witness(portal, simulator, server.url)


class Run:
    """One input, one output, and the same command."""

    def __init__(self, folder: Path, forks: Forks, witness: Witness, backend: str) -> None:
        self.forks, self.witness, self.notes = forks, witness, folder / "notes.txt"
        self.input, self.output = folder / "in.jsonl", folder / "out.jsonl"
        rows = [
            {"id": f"p{n}", "prompt": f"[[latency:0.01]] Say number {n}."} for n in range(ITEMS)
        ]
        self.input.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")
        words = ["run", self.input, "-o", self.output, "-m", "openai-compatible:any", "--quiet"]
        words += ["--base-url", f"{witness.url}/v1", "--concurrency", CALLS, "--backend", backend]
        self.words = [str(word) for word in words]
        self.kills = 0
        self.finished: set[str] = set()
        self.counts = Counter[str]()

    def kill_at(self, point: str, number: int) -> bool:
        """Run until the point kills; whether it did."""
        code = self.forks.wait(self.forks.start(self.words, self.notes, point, number))
        assert code in (0, 1, -signal.SIGKILL), self.notes.read_text()
        return self.after(killed=code == -signal.SIGKILL)

    def kill_after(self, seconds: float) -> bool:
        """Run for so long; whether it was still running then."""
        process = self.forks.start(self.words, self.notes, None, 0)
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)  # if it has ended, it is not waited for yet: no other's
        return self.after(killed=self.forks.wait(process) == -signal.SIGKILL)

    def after(self, *, killed: bool) -> bool:
        """Look at the output: what a reader has seen as a whole row is never called for again."""
        self.kills += killed
        if self.output.exists():
            whole = self.output.read_bytes().rpartition(b"\n")[0].splitlines()
            seen = {json.loads(line)["id"] for line in whole} - {None}
            calls = self.calls()
            for name in self.finished:
                assert calls[name] == self.counts[name], f"{name} was called for again"
            self.finished |= seen
            self.counts = calls
        return killed

    def calls(self) -> Counter[str]:
        return Counter(f"p{text.split()[-1].rstrip('.')}" for text in self.witness.prompts())

    def finish(self) -> int:
        """Type the command a last time and check what is there; give the calls made twice."""
        code = self.forks.wait(self.forks.start(self.words, self.notes, None, 0))
        assert code == 1, self.notes.read_text()  # for the line that is no JSON
        self.after(killed=False)
        rows = self.check_rows()
        assert all(row["success"] for row in rows if row["id"])
        calls = self.calls()
        assert set(calls) == {f"p{n}" for n in range(ITEMS)}
        # What waited for its commit counts as in flight: at most the window, each time.
        repeated = sum(calls.values()) - ITEMS
        assert repeated <= WINDOW * self.kills
        return repeated

    def check_rows(self) -> list[dict[str, Any]]:
        """Every line has one row, and all rows are whole."""
        rows = read_rows(self.output)
        ids = Counter(row["id"] for row in rows)
        assert ids == Counter([*(f"p{n}" for n in range(ITEMS)), None])
        return rows
