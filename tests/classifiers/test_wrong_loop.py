"""Code on an event loop that it was not made for: a program error that names the remedy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batchllm.api import run_batch
from batchllm.classifiers import DefaultErrorClassifier
from batchllm.core import ProcessorConfig, RetryConfig
from batchllm.testing import virtual_run

OTHER = "belongs to the event loop that it was first used on; make one for each event loop"
BRIDGE = "call it by AsyncioBridge"

RETRIES = ProcessorConfig(retry=RetryConfig(max_attempts=3, initial_wait=0.0))


async def sleeps(prompt: str) -> str:
    await asyncio.sleep(1)
    return prompt


async def times_out(prompt: str) -> str:
    async with asyncio.timeout(5):
        await asyncio.sleep(1)
    return prompt


async def asks_for_the_loop(prompt: str) -> str:
    asyncio.get_running_loop()
    return prompt


class Waits:
    """Awaits a bare future, as a library does that was written for asyncio's protocol alone."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    async def __call__(self, prompt: str) -> str:
        return str(await self.loop.create_future())


@pytest.mark.parametrize("function", [sleeps, times_out, asks_for_the_loop])
def test_asyncio_on_trio_is_not_retried_and_names_the_bridge(function: Any) -> None:
    """On asyncio the same function simply works."""
    (result,) = virtual_run(lambda: run_batch(["a"], function, config=RETRIES), backend="trio")
    assert (result.error_category, result.attempts) == ("program_error", 1)
    assert BRIDGE in str(result.error)
    (result,) = virtual_run(lambda: run_batch(["a"], function, config=RETRIES))
    assert result.success


@pytest.mark.parametrize(("backend", "words"), [("asyncio", OTHER), ("trio", BRIDGE)])
def test_a_future_of_another_loop(backend: Any, words: str) -> None:
    """On either backend; Trio says something else about it than asyncio."""
    waits = Waits()
    try:
        (result,) = virtual_run(lambda: run_batch(["a"], waits, config=RETRIES), backend=backend)
    finally:
        waits.loop.close()
    assert (result.error_category, result.attempts) == ("program_error", 1)
    assert words in str(result.error)


def test_a_lock_of_another_loop() -> None:
    """Python's own words for it."""
    error = RuntimeError("<asyncio.locks.Lock object> is bound to a different event loop")
    info = DefaultErrorClassifier().classify(error)
    assert (info.error_category, info.is_retryable) == ("program_error", False)
    assert any(OTHER in note for note in error.__notes__)


def test_a_loop_that_was_closed_may_be_a_lost_connection() -> None:
    """A client that kept one drops it, and the next attempt works: that is retried."""
    info = DefaultErrorClassifier().classify(RuntimeError("Event loop is closed"))
    assert info.is_retryable
