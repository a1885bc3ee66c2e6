"""Calling ``execute`` and ``on_error`` of a strategy, as their signatures take the state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from batchllm.core import LLMCallStrategy, RetryState
from batchllm.engine.failures import Failure
from batchllm.engine.hook_bounds import HookBound, note_hook
from batchllm.engine.hooks import StateArgument, StrategyShape, awaitable, call_hook
from batchllm.engine.item import ItemRun

__all__ = ["execute", "tell_of_failure"]


def execute(
    strategy: LLMCallStrategy[Any],
    shape: StrategyShape,
    prompt: Any,
    attempt: int,
    seconds: float,
    state: RetryState,
) -> Awaitable[object]:
    """Call ``execute``, with the state where it takes it."""
    if shape.execute is StateArgument.POSITION:
        value = strategy.execute(prompt, attempt, seconds, state)
    elif shape.execute is StateArgument.KEYWORD:
        value = strategy.execute(prompt, attempt, seconds, state=state)
    else:
        value = strategy.execute(prompt, attempt, seconds)
    return awaitable(strategy, value) if shape.plain else value


async def tell_of_failure(
    strategy: LLMCallStrategy[Any],
    takes: StateArgument,
    item: ItemRun,
    failure: Failure,
    attempt: int,
    state: RetryState,
    *,
    bound: HookBound,
) -> None:
    """Call ``on_error``; what it raises is noted on *item*, and the original error decides."""
    if not failure.of_the_strategy:
        return
    hook: Callable[..., Any] = strategy.on_error
    if takes is StateArgument.KEYWORD:
        hook = _with_state(hook, state)
    args = (state,) if takes is StateArgument.POSITION else ()
    ended = await call_hook(hook, failure.error, attempt, *args, seconds=bound.seconds)
    note_hook(item, f"{type(strategy).__name__}.on_error", ended, bound)


def _with_state(hook: Callable[..., Any], state: RetryState) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        return hook(*args, state=state)

    return call
