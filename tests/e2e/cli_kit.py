"""The command line as its users have it: processes, pipes, files and signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.forked import Before, Forked, can_fork
from tests.e2e.patience import PATIENCE

PROGRAM = [sys.executable, "-m", "batchllm"]
BACKENDS = ("asyncio", "uvloop", "trio")


def write_prompts(path: Path, count: int) -> Path:
    """A file of *count* rows with ids, prompts and one more field."""
    rows = [{"id": f"p{n}", "prompt": f"Say number {n}.", "tag": n % 7} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, each of which has to be whole."""
    text = path.read_text()
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def start_program(
    arguments: Sequence[str | Path], *, before: Before = (), **options: Any
) -> subprocess.Popen[bytes]:
    """Start the program, by a fork where that shows the same as a start of Python."""
    words = [str(word) for word in arguments]
    environment = options.pop("env", {**os.environ, "PYTHONWARNINGS": "error"})
    if can_fork(environment):
        return Forked(words, before=before, env=environment, **options)
    calls = ";".join(
        "import {0}; {0}.{1}(*{2!r})".format(*place.split(":"), tuple(given))
        for place, given in before
    )
    command = [*PROGRAM, *words]
    if calls:
        run = f"{calls}; import sys; from batchllm.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", run, *words]
    return subprocess.Popen(command, env=environment, **options)


@contextmanager
def program(arguments: Sequence[str | Path], **options: Any) -> Generator[subprocess.Popen[bytes]]:
    """The program as a process, which does not outlive the block."""
    options.setdefault("stdout", subprocess.PIPE)
    with start_program(arguments, stderr=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[bytes], data: bytes | None = None) -> tuple[int, str, str]:
    """Wait for the end: exit code, standard output, standard error."""
    out, err = process.communicate(data, timeout=PATIENCE)
    return process.returncode, (out or b"").decode(), err.decode()


def next_note(process: subprocess.Popen[bytes]) -> str:
    """The next line on standard error."""
    assert process.stderr is not None
    return process.stderr.readline().decode()


def run_program(*arguments: str | Path, data: bytes | None = None) -> tuple[int, str, str]:
    """Run the program to its end."""
    with program(arguments, stdin=subprocess.PIPE if data else subprocess.DEVNULL) as process:
        return finish(process, data)


@contextmanager
def simulator(*arguments: str | Path) -> Generator[str]:
    """A simulator in a process of its own; gives its URL, and ends it by Ctrl-C."""
    with program(["serve-sim", *arguments]) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        yield url
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
        assert code == 0, err
        assert "Traceback" not in err


def wait_for_rows(process: subprocess.Popen[bytes], path: Path, count: int) -> None:
    """Wait until *process* has written so many rows."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"{path} did not get {count} rows: {finish(process)}")
        time.sleep(0.02)
