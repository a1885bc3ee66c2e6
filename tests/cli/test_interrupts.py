"""Signals stop a run step by step, on every event loop."""

import signal
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from batchllm.api import stream_batch
from batchllm.cli.interrupts import Interrupts

pytestmark = pytest.mark.anyio


async def interrupted(calls: int, signals: int, latency: float = 30.0) -> tuple[list[str], Any]:
    """Return the notes, and the results by category, of a run that gets signals after a second."""

    async def slow(prompt: str) -> str:
        await anyio.sleep(latency)
        return prompt

    notes: list[str] = []
    interrupts = Interrupts(notes.append)
    prompts = [str(number) for number in range(calls)]
    async with anyio.create_task_group() as group, stream_batch(prompts, slow) as run:
        await group.start(interrupts.watch, run)
        await anyio.sleep(1)
        for count in range(1, signals + 1):
            signal.raise_signal(signal.SIGINT)
            while interrupts.count < count:
                await checkpoint()
        kinds = [result.error_category async for result in run]
        group.cancel_scope.cancel()
    return notes, kinds


async def test_one_signal_lets_calls_finish() -> None:
    """Calls in flight get their answers, and the note says how many they are."""
    notes, kinds = await interrupted(calls=4, signals=1)
    assert "the 4 calls in flight may finish" in notes[0]
    assert kinds == [None] * 4
    notes, kinds = await interrupted(calls=1, signals=1)
    assert "the 1 call in flight may finish; a second one cancels it" in notes[0]
    assert kinds == [None]


async def test_two_signals_cancel() -> None:
    """Nothing waits for the calls."""
    notes, kinds = await interrupted(calls=3, signals=2)
    assert notes[1] == "Ctrl-C: cancelling the calls in flight"
    assert kinds == ["cancelled"] * 3


async def test_with_nothing_in_flight_nothing_is_said_of_it() -> None:
    """The run is over but for its end."""
    notes, kinds = await interrupted(calls=2, signals=1, latency=0.5)
    assert notes == ["Ctrl-C: no further call starts"]
    assert kinds == [None, None]


async def test_without_signals_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an event loop cannot watch for them, Ctrl-C is Python's own affair."""

    def missing(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("anyio.open_signal_receiver", missing)
    notes, kinds = await interrupted(calls=2, signals=0)
    assert notes == []
    assert kinds == [None, None]
