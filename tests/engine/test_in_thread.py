"""Blocking functions as hooks; in virtual time they run in place."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import BaseMiddleware, ConfigError
from batchllm.engine import PostProcessor, in_thread
from batchllm.engine.threaded import is_async
from batchllm.testing import Answer, ScriptedStrategy

pytestmark = pytest.mark.anyio


async def coroutine(*_: Any) -> None:
    pass


def plain(*_: Any) -> None:
    pass


class Asynchronous:
    async def __call__(self, *_: Any) -> None:
        pass

    async def method(self) -> None:
        pass


def test_what_is_async() -> None:
    """However it is wrapped up, what only makes an awaitable blocks nothing."""
    asynchronous: list[Any] = [
        coroutine,
        partial(coroutine, 1),
        Asynchronous(),
        Asynchronous().method,
        partial(Asynchronous(), 1),
        in_thread(plain),
        partial(in_thread(plain), 1),
    ]
    others: list[Any] = [plain, partial(plain, 1), lambda: coroutine(), dict, Asynchronous]
    assert [is_async(function) for function in asynchronous] == [True] * len(asynchronous)
    assert [is_async(function) for function in others] == [False] * len(others)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((42,), "in_thread() was given an int; give a blocking function"),
        ((coroutine,), "in_thread() was given an async function, which blocks nothing"),
        ((plain, 0), "threads is 0; give a whole number of at least 1"),
        ((plain, True), "threads is True"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(arguments: Any, words: str) -> None:
    """At once, with what to give."""
    function, *threads = arguments
    with pytest.raises(ConfigError) as raised:
        in_thread(function, **({"threads": threads[0]} if threads else {}))
    assert words in str(raised.value)


def test_a_post_processor_that_cannot_be_called_is_refused() -> None:
    """Like any other setting."""
    with pytest.raises(ConfigError, match=r"PostProcessor\.function is an int; give a function"):
        PostProcessor(42)  # type: ignore[arg-type]


def test_it_looks_like_its_function() -> None:
    """Its name and its signature, by which hooks are read."""

    def after_process(work_item: Any, result: Any) -> None:
        """Say something."""

    wrapped = in_thread(after_process)
    assert (wrapped.__name__, wrapped.__doc__) == ("after_process", "Say something.")  # type: ignore[attr-defined]
    assert list(inspect.signature(wrapped).parameters) == ["work_item", "result"]


async def test_a_middlewares_method() -> None:
    """It is bound to its instance, and its shape is read as it is written."""
    seen: list[str] = []

    class Writes(BaseMiddleware):
        @in_thread
        def before_process(self, work_item: Any) -> Any:
            seen.append(f"in {work_item.item_id}")

        @in_thread
        def after_process(self, result: Any) -> Any:
            seen.append(f"out {result.item_id}")

    result = await run_batch(["a"], ScriptedStrategy(), middlewares=[Writes()])
    assert result.succeeded == 1
    assert seen == ["in 0", "out 0"]


async def test_in_virtual_time_a_sync_hook_takes_none() -> None:
    """No clock jumps while a thread works, since there is none: its deadline cannot be over."""
    seen: list[float] = []

    def note(result: Any) -> None:
        seen.append(anyio.current_time())

    steps = {"a": Answer(after=1.0), "b": Answer(after=2.0)}
    result = await run_batch(["a", "b"], ScriptedStrategy(steps), post_processor=note)
    assert seen == [1.0, 2.0]
    assert [each.metadata for each in result.results] == [None, None]


async def test_a_sync_function_that_makes_an_awaitable() -> None:
    """It is awaited on the loop."""
    seen: list[Any] = []

    async def note(result: Any) -> None:
        await anyio.sleep(1.0)
        seen.append(result.item_id)

    await run_batch(["a"], ScriptedStrategy(), post_processor=lambda result: note(result))
    assert seen == ["0"]
