"""Blocking functions in their worker threads, on every event loop."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from batchllm import ProcessorConfig, RetryConfig, run_batch
from batchllm.transport import run_in_thread
from tests.e2e.patience import PATIENCE, until

pytestmark = pytest.mark.anyio

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")


async def test_it_can_call_back_to_the_event_loop() -> None:
    """As from any worker thread of AnyIO."""

    async def double(text: str) -> str:
        await anyio.lowlevel.checkpoint()
        return text * 2

    def ask(prompt: str) -> str:
        return anyio.from_thread.run(double, prompt) + anyio.from_thread.run_sync(prompt.upper)

    assert (await run_batch(["ab"], ask)).outputs == ["ababAB"]


async def test_it_can_run_an_event_loop_of_its_own() -> None:
    """A sync function round an async library is no code on the loop."""

    async def answer(prompt: str) -> str:
        await anyio.lowlevel.checkpoint()
        return prompt.upper()

    assert (await run_batch(["ab"], lambda prompt: anyio.run(answer, prompt))).outputs == ["AB"]


async def test_it_sees_the_callers_context() -> None:
    """Context variables are copied, so that logs and traces belong together."""
    request_id.set("42")
    assert (await run_batch(["ab"], lambda prompt: request_id.get())).outputs == ["42"]


async def test_what_it_raises_is_its_own() -> None:
    """Also what could not be raised in a coroutine."""

    def stop(prompt: str) -> str:
        raise {"a": StopIteration("no"), "b": LookupError("no")}[prompt]

    config = ProcessorConfig(retry=RetryConfig(max_attempts=1))
    result = await run_batch(["a", "b"], stop, config=config)
    kinds = [type(each.exception) for each in result.in_input_order()]
    assert kinds == [RuntimeError, LookupError]


async def test_a_call_that_is_given_up_can_learn_of_it() -> None:
    """Its thread ends by itself; the caller goes on at once."""
    begun, let_go, seen = threading.Event(), threading.Event(), list[str]()

    def work() -> None:
        begun.set()
        let_go.wait(PATIENCE)
        try:
            anyio.from_thread.check_cancelled()
        except BaseException as error:
            seen.append(type(error).__name__)

    limiter = anyio.CapacityLimiter(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: run_in_thread(work, limiter=limiter))
        await until(begun.is_set)
        tasks.cancel_scope.cancel()
    let_go.set()
    await until(lambda: bool(seen))
    assert seen[0].startswith("Cancel")


async def test_a_thread_that_outlives_its_loop() -> None:
    """It ends without a word, since nobody waits for it any more."""
    let_go = threading.Event()
    errors: list[Any] = []
    before, threading.excepthook = threading.excepthook, errors.append

    def other_loop() -> None:
        async def leave() -> None:
            with anyio.move_on_after(0.1):
                await run_batch(["a"], lambda prompt: let_go.wait(PATIENCE))

        anyio.run(leave)

    try:
        thread = threading.Thread(target=other_loop)
        thread.start()
        await until(lambda: not thread.is_alive())
        let_go.set()
        await anyio.sleep(0.1)
    finally:
        threading.excepthook = before
    assert errors == []
