"""One Ctrl-C ends a program, whatever it is doing: importing, or waiting for a thread."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.patience import PATIENCE

ROOT = Path(__file__).parents[2]

BLOCKED = """
import sys, threading
import anyio
from batchllm import run_batch, run_batch_sync

def ask(prompt):
    print("asked", flush=True)
    threading.Event().wait()

try:
    if sys.argv[1] == "sync":
        run_batch_sync(["a"], ask)
    else:
        anyio.run(run_batch, ["a"], ask, backend=sys.argv[1])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""

BLOCKED_SOURCE = """
import asyncio, sys, time
import anyio
from batchllm import run_batch
from batchllm.testing import ScriptedStrategy

def items():
    yield "a"
    print("reading", flush=True)
    while sys.argv[1] == "trio" or not any(t.cancelling() for t in asyncio.all_tasks()):
        time.sleep(0.01)
    print("asked to end", flush=True)
    time.sleep(600)

async def main():
    await run_batch(items(), ScriptedStrategy(), journal=sys.argv[2])

try:
    anyio.run(main, backend=sys.argv[1])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""

STARTING = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == os.environ["INTERRUPTED_AT"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
"""


def start(*words: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start Python in the repository's root."""
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("how", ["asyncio", "trio", "sync"])
def test_a_sync_strategy_that_blocks_does_not_hold_the_program(how: str) -> None:
    """Its thread is given up: neither the run nor the interpreter waits for it."""
    with start("-c", BLOCKED, how) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == b"asked"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, out.decode(), err.decode()) == (0, "interrupted\n", "")


@pytest.mark.parametrize("how", ["asyncio", "trio"])
def test_a_source_that_blocks_the_loop_holds_no_program_with_a_journal(
    how: str, tmp_path: Path
) -> None:
    """On asyncio the first Ctrl-C cannot reach it; after the second no thread is waited for."""
    with start("-c", BLOCKED_SOURCE, how, str(tmp_path / "run.db")) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == b"reading"
            process.send_signal(signal.SIGINT)
            if how == "asyncio":
                assert process.stdout.readline().strip() == b"asked to end"
                process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, out.decode()) == (0, "interrupted\n")
    with closing(sqlite3.connect(tmp_path / "run.db")) as journal:
        assert journal.execute("SELECT cause FROM runs").fetchall() == [("interrupted",)]


@pytest.mark.parametrize(
    "module", ["batchllm.core", "batchllm.engine.scheduler", "batchllm.cli.app"]
)
def test_an_interrupt_during_the_import_ends_the_program_in_one_line(
    module: str, tmp_path: Path
) -> None:
    """And nothing is sent or written."""
    (tmp_path / "sitecustomize.py").write_text(STARTING)
    (tmp_path / "in.txt").write_text("Hi\n")
    command = ["-m", "batchllm", "run", str(tmp_path / "in.txt"), "-m", "sim:instant"]
    with start(*command, PYTHONPATH=f"{tmp_path}:{ROOT}", INTERRUPTED_AT=module) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert out == b""
    assert err.startswith(b"batchllm: interrupted")
    assert err.count(b"\n") == 1
    assert process.returncode == 130
