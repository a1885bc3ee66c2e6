"""A hook that holds the event loop is reported once, by name and with its time."""

from __future__ import annotations

import gc
import itertools
import logging
import sys
import time
from functools import partial
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import BaseMiddleware, BaseObserver
from batchllm.engine.loop_watch import Clocks
from batchllm.engine.slow_hooks import SlowHooks
from batchllm.testing import Answer, Raise, ScriptedStrategy

pytestmark = pytest.mark.anyio


class Hands:
    """Clocks that stand still unless they are moved, and before the reading *paused_at*."""

    def __init__(self, paused_at: int | None = None) -> None:
        self.wall = self.cpu = 0.0
        self.preempted = self.rounds = 0
        self.paused_at = paused_at
        self.readings = itertools.count()

    def move(self, wall: float, cpu: float = 0.0, preempted: int = 0) -> None:
        self.wall += wall
        self.cpu += cpu
        self.preempted += preempted

    @property
    def clocks(self) -> Clocks:
        names = ("wall", "cpu", "preempted", "rounds")
        return Clocks(*(partial(self.read, name) for name in names))

    def read(self, name: str) -> Any:
        if next(self.readings) == self.paused_at:
            self.move(5.0, 0.0, 1)
        return getattr(self, name)


def test_slow_ones_are_reported_once_each(caplog: pytest.LogCaptureFixture) -> None:
    """In the warnings and in the log, with what to do about it."""
    hands = Hands()
    slow = SlowHooks(clocks=hands.clocks)
    with caplog.at_level(logging.WARNING, "batchllm"):
        for name in ("a", "a", "b"):
            slow.call(name, hands.move, 0.25)
        slow.call("quick", hands.move, 0.09)
    assert [text.split(", and")[0] for text in slow.warnings] == [
        "a blocked the event loop for 0.25 s",
        "b blocked the event loop for 0.25 s",
    ]
    assert all("in_thread(…)" in text for text in slow.warnings)
    assert len(caplog.records) == 2


def test_a_process_that_was_paused_is_no_slow_hook() -> None:
    """The system took the processor away: that says nothing about the hook."""
    hands = Hands()
    slow = SlowHooks(clocks=hands.clocks)
    slow.call("a", hands.move, 5.0, 0.0, 1)
    assert slow.warnings == []


@pytest.mark.parametrize("reading", range(9))
def test_a_pause_between_two_readings_of_the_clocks_is_no_slow_hook(reading: int) -> None:
    """Wherever it falls: four clocks cannot be read at the same instant."""
    slow = SlowHooks(clocks=Hands(paused_at=reading).clocks)
    slow.call("a", lambda: None)
    assert slow.warnings == []


def test_a_hook_is_not_blamed_for_collected_garbage() -> None:
    """Going through every object takes long where there are many, whichever call makes the last."""
    hands = Hands()
    slow = SlowHooks(clocks=hands.clocks)

    def unlucky() -> None:
        hands.move(0.13, 0.13)
        hands.rounds = 0

    hands.rounds = 10
    slow.call("a", unlucky)
    assert slow.warnings == []
    hands.rounds = 10
    slow.call("a", hands.move, 0.13, 0.13)
    assert len(slow.warnings) == 1


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="collects in small steps, never for long")
def test_a_full_collection_is_seen() -> None:
    """By the interpreter's own count, on the clocks that are read in earnest."""
    clocks = Clocks()
    gc.collect(1)
    before = clocks.read()
    assert before.since_collected > 0
    gc.collect()
    assert not clocks.held(before, clocks.wall(), 0.0)


def test_one_that_raises_is_reported_too() -> None:
    """And what it raised goes on."""
    hands = Hands()
    slow = SlowHooks(clocks=hands.clocks)

    def broken() -> None:
        hands.move(1.0)
        raise LookupError

    with pytest.raises(LookupError):
        slow.call("a", broken)
    assert len(slow.warnings) == 1


def compute(seconds: float) -> None:
    """Use up the processor."""
    begun = time.thread_time()
    while time.thread_time() - begun < seconds:
        pass


@pytest.mark.parametrize(
    "hook", ["before_process", "after_process", "on_retry", "on_error", "on_event", "progress"]
)
async def test_every_sync_hook_is_timed(hook: str) -> None:
    """Each under a name by which its author finds it."""

    slow_calls = [0.11, 0.11]  # as the first of them is reported, the others need not be slow

    def slow(*_: Any) -> None:
        compute(slow_calls.pop() if slow_calls else 0.0)

    middleware, observer = BaseMiddleware(), BaseObserver()
    for owner in (middleware, observer):
        if hasattr(owner, hook):
            setattr(owner, hook, slow)
    prompts: dict[str, Any] = {"a": [Raise(ConnectionError), Answer()], "b": Raise(TypeError)}
    result = await run_batch(
        ["a", "b"],
        ScriptedStrategy(prompts),
        middlewares=[middleware],
        observers=[observer],
        progress_callback=slow if hook == "progress" else None,
    )
    assert result.total_items == 2
    (warning,) = result.warnings
    names = {"on_event": "BaseObserver.on_event", "progress": "progress_callback"}
    assert warning.startswith(names.get(hook, f"BaseMiddleware.{hook}") + " blocked the event loop")


async def test_an_async_hook_is_not_timed() -> None:
    """Code that ran while it waited is not its doing."""

    async def waits(*_: Any) -> None:
        await anyio.sleep(4.0)

    result = await run_batch(["a", "b"], ScriptedStrategy(), progress_callback=waits)
    assert result.warnings == ()
