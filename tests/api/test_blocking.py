"""The doors for code that is not async; in real time, since they bring a thread and a loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import trio

from batchllm.api import run_batch_sync, stream_batch_sync
from batchllm.core import SourceError
from batchllm.testing import Answer, Hang, Raise, ScriptedStrategy


def test_run_batch_sync() -> None:
    """The result is that of ``run_batch``, and everything is cleaned up."""
    strategy = ScriptedStrategy({"b": Raise(TypeError)})
    result = run_batch_sync(["a", "b"], strategy, concurrency=2)
    assert result.outputs == ["a", None]
    assert (strategy.prepared, strategy.cleaned) == (1, 1)


def test_inside_a_running_loop() -> None:
    """As in a notebook: asyncio or Trio runs already in this thread."""

    async def main() -> Any:
        return run_batch_sync(["a", "b"], ScriptedStrategy())

    assert asyncio.run(main()).succeeded == 2
    assert trio.run(main).succeeded == 2


def test_stream_batch_sync() -> None:
    """An ordinary iterator."""
    with stream_batch_sync([f"p{i}" for i in range(20)], ScriptedStrategy(), ordered=True) as run:
        assert [result.output for result in run] == [f"p{i}" for i in range(20)]


def test_leaving_early() -> None:
    """Leaving the block stops all calls; no thread is left behind."""
    threads = threading.active_count()
    strategy = ScriptedStrategy([Answer(), Hang()], per_call=True)
    with stream_batch_sync([f"p{i}" for i in range(20)], strategy, concurrency=3) as run:
        assert next(run).success
    assert (strategy.in_flight, strategy.cleaned) == (0, 1)
    assert threading.active_count() == threads


def test_errors_come_through() -> None:
    """Errors of the batch come through, and errors of the block."""

    def items() -> Any:
        yield "a"
        raise OSError("gone")

    with pytest.raises(SourceError, match="gone"):
        run_batch_sync(items(), ScriptedStrategy())
    strategy = ScriptedStrategy(Hang())
    with (
        pytest.raises(LookupError, match="mine"),
        stream_batch_sync(["a"], strategy),
    ):
        raise LookupError("mine")
    assert strategy.in_flight == 0
