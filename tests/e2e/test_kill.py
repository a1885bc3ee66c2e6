"""A process that is killed, at each named point and at random moments, and the same command again.

The simulator runs in a process of its own and writes down every request: the witness of what was
called for, by prompt. ``BATCHLLM_KILLS`` raises the number of random kills (``nox -s kills``).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.cli_kit import PROGRAM, read_rows, simulator
from tests.e2e.killed import POINTS
from tests.e2e.patience import PATIENCE

BACKENDS = ("asyncio", "trio")
KILLS = int(os.environ.get("BATCHLLM_KILLS", "5"))
ITEMS = 60
CALLS = 6
WINDOW = 2 * CALLS


class Run:
    """One input, one output, and the command that is typed again and again."""

    def __init__(self, folder: Path, url: str, log: Path, backend: str) -> None:
        self.input, self.output, self.log = folder / "in.jsonl", folder / "out.jsonl", log
        self.write_input(range(ITEMS))
        self.words = ["run", self.input, "-o", self.output, "-m", "openai-compatible:any"]
        self.words += ["--base-url", f"{url}/v1", "--concurrency", str(CALLS), "--quiet"]
        self.words += ["--backend", backend]
        self.kills = 0
        self.finished: set[str] = set()
        self.counts = Counter[str]()

    def write_input(self, numbers: range) -> None:
        rows = [{"id": f"p{n}", "prompt": f"[[latency:0.02]] Say number {n}."} for n in numbers]
        self.input.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")

    def start(self, program: list[str]) -> subprocess.Popen[bytes]:
        command = [*program, *map(str, self.words)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def kill_at(self, point: str, number: int) -> bool:
        """Run until the point kills; whether it did."""
        fused = [sys.executable, "-m", "tests.e2e.killed", point, str(number)]
        with self.start(fused) as process:
            code = process.wait(PATIENCE)
            assert code in (0, 1, -signal.SIGKILL), process.stderr and process.stderr.read()
        return self.after_kill(killed=code == -signal.SIGKILL)

    def kill_after(self, seconds: float) -> bool:
        """Run for so long; whether it was still running then."""
        with self.start(PROGRAM) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
            code = process.wait(PATIENCE)
        return self.after_kill(killed=code == -signal.SIGKILL)

    def after_kill(self, *, killed: bool) -> bool:
        self.kills += killed
        # What a reader of the file has seen as a whole row is never called for again.
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
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        prompts = [json.loads(line)["prompt"] for line in lines]
        return Counter(f"p{prompt.split()[-1].rstrip('.')}" for prompt in prompts)

    def finish(self) -> None:
        """Type the command a last time, and check what is there."""
        with self.start(PROGRAM) as process:
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1, err  # for the line that is no JSON
        self.after_kill(killed=False)
        rows = read_rows(self.output)
        ids = Counter(row["id"] for row in rows)
        assert ids == Counter([*(f"p{n}" for n in range(ITEMS)), None])
        assert all(row["success"] for row in rows if row["id"])
        calls = self.calls()
        assert set(calls) == {f"p{n}" for n in range(ITEMS)}
        # What waited for its commit counts as in flight: at most the window, each time.
        assert sum(calls.values()) - ITEMS <= WINDOW * self.kills


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_at_each_point(tmp_path: Path, backend: str) -> None:
    """Each point in turn, on one output, which is whole at the end."""
    met = set()
    with simulator("instant", "--log", tmp_path / "log.jsonl") as url:
        run = Run(tmp_path, url, tmp_path / "log.jsonl", backend)
        for point in POINTS:
            if run.kill_at(point, 1 if point == "opened" else 2):
                met.add(point)
        run.finish()
        for point in ("replace", "replaced"):
            # Edited lines supersede rows, so that the file is written anew at the end.
            edited = run.input.read_text().replace("Say", f"Say, {point}d,")
            run.input.write_text(edited)
            run.finished = set()  # they run again
            if run.kill_at(point, 1):
                met.add(point)
        with run.start(PROGRAM) as process:
            process.communicate(timeout=PATIENCE)
        ids = Counter(row["id"] for row in read_rows(run.output))
        assert ids == Counter([*(f"p{n}" for n in range(ITEMS)), None])
    assert met == set(POINTS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_at_random_moments(tmp_path: Path, backend: str) -> None:
    chance = random.Random(f"kills {backend}")
    kills, number = 0, 0
    while kills < KILLS:
        folder, number = tmp_path / str(number), number + 1
        folder.mkdir()
        with simulator("instant", "--log", folder / "log.jsonl") as url:
            run = Run(folder, url, folder / "log.jsonl", backend)
            # From the import of the program to the end of the run, as long as that takes here.
            seconds, finished = 0.5, False
            while not finished and kills + run.kills < KILLS:
                killed = run.kill_after(chance.uniform(0.5, 1.2) * seconds)
                finished = not killed
                if not run.output.exists() or not run.output.stat().st_size:
                    seconds *= 1.3  # it was not even begun
            kills += run.kills
            run.finish()
