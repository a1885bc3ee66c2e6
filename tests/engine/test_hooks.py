"""Hooks of any shape are read once; one that cannot be called is told of at once."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock

import pytest

from batchllm.api import run_batch
from batchllm.core import BaseMiddleware, LLMCallStrategy, LLMWorkItem, RetryState, StrategyError
from batchllm.engine import Failed, Ok
from batchllm.engine.hooks import HookTable, StateArgument, call_hook, read_after_process
from tests.engine.faces import run_face

pytestmark = pytest.mark.anyio

Three = StateArgument.LEFT_OUT
Fourth = StateArgument.POSITION
Keyword = StateArgument.KEYWORD


class Base(LLMCallStrategy[Any]):
    """With the hooks of the class in question."""

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        return "x", None


def with_hook(name: str, hook: Any) -> LLMCallStrategy[Any]:
    strategy: LLMCallStrategy[Any] = type("Made", (Base,), {name: hook})()
    return strategy


async def e3(self: Any, prompt: Any, attempt: int, timeout: float) -> Any:
    return "x", None


async def e4(self: Any, prompt: Any, attempt: int, timeout: float, state: Any = None) -> Any:
    assert isinstance(state, RetryState)
    return "x", None


async def e4_other_name(self: Any, prompt: Any, attempt: int, timeout: float, memory: Any) -> Any:
    assert isinstance(memory, RetryState)
    return "x", None


async def e4_own_default(
    self: Any, prompt: Any, attempt: int, timeout: float, top_k: int = 3
) -> Any:
    assert top_k == 3
    return "x", None


async def e_keyword(self: Any, prompt: Any, attempt: int, timeout: float, *, state: Any) -> Any:
    assert isinstance(state, RetryState)
    return "x", None


async def e_keyword_default(
    self: Any, prompt: Any, attempt: int, timeout: float, *, state: Any = None
) -> Any:
    assert isinstance(state, RetryState)
    return "x", None


async def e_args(self: Any, *args: Any) -> Any:
    assert len(args) == 4
    return "x", None


async def e_kwargs(self: Any, prompt: Any, attempt: int, timeout: float, **kwargs: Any) -> Any:
    assert kwargs == {}
    return "x", None


@pytest.mark.parametrize(
    ("hook", "takes"),
    [
        (e3, Three),
        (e4, Fourth),
        (e4_other_name, Fourth),
        (e4_own_default, Three),
        (e_keyword, Keyword),
        (e_keyword_default, Keyword),
        (e_args, Fourth),
        (e_kwargs, Three),
    ],
)
async def test_execute_of_any_shape(hook: Any, takes: StateArgument) -> None:
    """The state comes where there is a place for it, and a default of their own is left alone."""
    strategy = with_hook("execute", hook)
    assert HookTable().shape_of(strategy).execute is takes
    ended = await run_face("collected", ["p"], strategy)
    assert [result.error for result in ended.results] == [None]


@pytest.mark.parametrize(
    "hook",
    [
        lambda self: None,
        lambda self, prompt: None,
        lambda self, a, b, c, d, e: None,
        lambda self, a, b, c, *, other: None,
        "not callable",
    ],
)
async def test_execute_that_cannot_be_called(hook: Any) -> None:
    """For the batch's strategy that is an error at once; an item's own fails that item."""
    strategy = with_hook("execute", hook)
    with pytest.raises(StrategyError, match=r"Made\.execute") as caught:
        HookTable().shape_of(strategy)
    assert "prompt, attempt, timeout, state)" in str(caught.value)
    with pytest.raises(StrategyError):
        await run_batch(["p"], strategy)
    good = with_hook("execute", e3)
    items = [LLMWorkItem("bad", strategy, "p"), LLMWorkItem("good", good, "p")]
    ended = await run_face("collected", items, None)
    assert ended.categories == {"bad": "program_error", "good": None}
    assert isinstance(ended.by_id["bad"].exception, StrategyError)


@pytest.mark.parametrize("kind", ["async", "sync", "state", "keyword", "args"])
async def test_on_error_of_any_shape(kind: str) -> None:
    """With two parameters or three, async or not."""
    seen: list[Any] = []

    async def plain(self: Any, exception: Any, attempt: Any) -> None:
        seen.append((exception, attempt))

    def sync(self: Any, exception: Any, attempt: Any) -> None:
        seen.append((exception, attempt))

    async def state(self: Any, exception: Any, attempt: Any, state: RetryState) -> None:
        state.set("seen", 1)
        seen.append((exception, attempt))

    async def keyword(self: Any, exception: Any, attempt: Any, *, state: RetryState) -> None:
        state.set("seen", 1)
        seen.append((exception, attempt))

    async def args(self: Any, *given: Any) -> None:
        assert isinstance(given[2], RetryState)
        seen.append(given[:2])

    hooks = {"async": plain, "sync": sync, "state": state, "keyword": keyword, "args": args}
    strategy = with_hook("on_error", hooks[kind])

    async def execute(*given: Any) -> Any:
        raise TypeError("no")

    type(strategy).execute = execute  # type: ignore[method-assign]
    ended = await run_face("collected", ["p"], strategy)
    assert [(type(error), attempt) for error, attempt in seen] == [(TypeError, 1)]
    assert ended.results[0].metadata is None


async def test_mocks() -> None:
    """A mock in place of a hook is called as the full shape, on its instance alone."""
    table = HookTable()
    plain, mocked = with_hook("execute", e3), with_hook("execute", e3)
    mocked.execute = AsyncMock(return_value=("mock", None))  # type: ignore[method-assign]
    assert table.shape_of(type(mocked)()).execute is Three
    assert table.shape_of(mocked).execute is Fourth
    assert table.shape_of(plain).execute is Three
    ended = await run_face("collected", ["p"], mocked)
    assert ended.results[0].output == "mock"
    mocked.prepare = AsyncMock()  # type: ignore[method-assign]
    mocked.cleanup = AsyncMock()  # type: ignore[method-assign]
    await run_face("collected", ["p", "q"], mocked)
    mocked.prepare.assert_awaited_once_with()
    mocked.cleanup.assert_awaited_once_with()


def test_a_shape_is_read_once() -> None:
    """However many instances there are, one class is read once."""
    table = HookTable()
    kind = type(with_hook("execute", e4))
    assert table.shape_of(kind()) is table.shape_of(kind())


def test_after_process() -> None:
    """With the item or without; anything else is refused by name."""

    class Both(BaseMiddleware):
        async def after_process(self, work_item: Any, result: Any) -> None: ...

    class One(BaseMiddleware):
        async def after_process(self, result: Any) -> None: ...

    class Wrong(BaseMiddleware):
        async def after_process(self) -> None: ...

    assert [read_after_process(m) for m in (Both(), One(), BaseMiddleware())] == [True, False, True]
    with pytest.raises(StrategyError, match=r"Wrong\.after_process"):
        read_after_process(Wrong())


async def test_call_hook() -> None:
    """Sync or async, a hook's end is one of three."""
    assert await call_hook(lambda x: x + 1, 1, seconds=1.0) == Ok(2)
    assert await call_hook(AsyncMock(return_value=3), seconds=1.0) == Ok(3)
    error = ValueError()
    assert await call_hook(AsyncMock(side_effect=error), seconds=None) == Failed(error)


def plain(self: Any, prompt: Any, attempt: int, timeout: float) -> Any:
    return "x", None


def plain_annotated(self: Any, prompt: Any, attempt: int, timeout: float) -> tuple[str, None]:
    return "x", None


def generator(self: Any, prompt: Any, attempt: int, timeout: float) -> Any:
    yield "x", None


async def async_generator(self: Any, prompt: Any, attempt: int, timeout: float) -> Any:
    yield "x", None


def hands_on(self: Any, prompt: Any, attempt: int, timeout: float) -> Any:
    return e3(self, prompt, attempt, timeout)


@pytest.mark.parametrize(
    ("hook", "told"),
    [
        (plain_annotated, "Made.execute is not asynchronous; write async def"),
        (generator, "Made.execute is not asynchronous; write async def"),
        (async_generator, "Made.execute yields"),
    ],
)
async def test_execute_that_cannot_be_awaited(hook: Any, told: str) -> None:
    """Where its own declaration shows it, nothing is called."""
    with pytest.raises(StrategyError, match=told):
        await run_batch(["a"], with_hook("execute", hook))


async def test_plain_execute() -> None:
    """A function without an awaitable fails by a sentence; one that passes one on will do."""
    (failed,) = (await run_batch(["a"], with_hook("execute", plain))).results
    assert isinstance(failed.exception, StrategyError)
    assert "write async def execute" in str(failed.error)
    assert failed.attempts == 1
    assert (await run_batch(["a"], with_hook("execute", hands_on))).outputs == ["x"]
