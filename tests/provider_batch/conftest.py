"""The clock of runs of batch mode."""

from __future__ import annotations

import anyio
import pytest

import batchllm.engine.samples
import batchllm.journal.commits

MOST_READINGS = 200_000


@pytest.fixture(autouse=True)
def few_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a journal say each ten minutes, not each 15 s, that its process is alive.

    Nobody looks at it here, and of the work of a run that waits for a day it was the half. And let
    it take its samples ever more rarely after the first 8, not the first 128, since half of all
    timers were theirs; ``tests/reports`` look at samples.
    """
    monkeypatch.setattr(batchllm.journal.commits, "BEAT_EVERY", 600.0)
    monkeypatch.setattr(batchllm.engine.samples, "_PER_PACE", 8)


@pytest.fixture
def moving_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves on between two readings, as every clock does but a virtual one."""
    read, readings = anyio.current_time, 0

    def current_time() -> float:
        nonlocal readings
        readings += 1
        # Once, since what cleans up reads it, too.
        if readings == MOST_READINGS:
            msg = "the clock was read again and again, and nothing was done"
            raise AssertionError(msg)
        return read() + 1e-7 * readings

    monkeypatch.setattr(anyio, "current_time", current_time)
