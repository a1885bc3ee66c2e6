"""Calling users' hooks: signatures read once, sync or async, bounded in time.

A strategy's ``execute`` and ``on_error`` may have a ``state`` parameter or not, a middleware's
``after_process`` may take the item or not. What fits is read from the signature when the hook is
first seen, so that a hook that fits nothing is an error then, and never a surprise at item 80,000.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, get_origin

from attrs import define, field, frozen

from batchllm.core import (
    BaseMiddleware,
    CallCost,
    LLMCallStrategy,
    Price,
    RetryState,
    StrategyError,
    kind_of,
)
from batchllm.engine.guard import Ended, bounded
from batchllm.engine.slow_hooks import SlowHooks

__all__ = [
    "HookTable",
    "StateArgument",
    "StrategyShape",
    "awaitable",
    "bind_on_error",
    "call_hook",
    "estimate_of",
    "is_own",
    "read_after_process",
]


_HOOKS = frozenset({"execute", "on_error", "prepare", "cleanup"})


class StateArgument(Enum):
    """The way in which a hook takes the item's ``RetryState``."""

    LEFT_OUT = "left out"
    POSITION = "by position"
    KEYWORD = "by keyword"


@frozen
class StrategyShape:
    """The engine's knowledge of a strategy's class.

    Attributes:
        execute: How ``execute`` takes the state.
        on_error: How ``on_error`` takes it; ``None`` where the class has none of its own.
        managed: Whether it overrides ``prepare`` or ``cleanup``.
        plain: Whether ``execute`` is no ``async def``, so that what it returns has to be looked
            at before it is awaited.
    """

    execute: StateArgument
    on_error: StateArgument | None
    managed: bool
    plain: bool = False


def is_own(strategy: LLMCallStrategy[Any], name: str) -> bool:
    """Return whether a strategy, or its class, has a hook of this name of its own."""
    return name in getattr(strategy, "__dict__", ()) or getattr(
        type(strategy), name, None
    ) is not getattr(LLMCallStrategy, name)


def _signature(hook: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(hook)
    except (TypeError, ValueError):
        return None


def _fits(signature: inspect.Signature, *args: Any, **kwargs: Any) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _state_argument(owner: str, name: str, hook: Any, shapes: tuple[str, str]) -> StateArgument:
    """Read how *hook*, with its leading arguments as in *shapes*, takes the state."""
    if not callable(hook):
        msg = f"{owner}.{name} is {kind_of(hook)}; write it as async def {name}(self, {shapes[1]})"
        raise StrategyError(msg)
    signature = _signature(hook)
    if signature is None:
        return StateArgument.POSITION
    leading = (None,) * (shapes[0].count(",") + 1)
    parameter = signature.parameters.get("state")
    if parameter is not None and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if _fits(signature, *leading, state=None):
                return StateArgument.KEYWORD
        elif _fits(signature, *leading, None):
            return StateArgument.POSITION
    elif _fits(signature, *leading) and not _has_more_positions(signature, len(leading)):
        return StateArgument.LEFT_OUT
    elif _fits(signature, *leading, None) and not _fits(signature, *leading):
        return StateArgument.POSITION
    elif _fits(signature, *leading):
        takes_any = inspect.Parameter.VAR_POSITIONAL in {
            p.kind for p in signature.parameters.values()
        }
        return StateArgument.POSITION if takes_any else StateArgument.LEFT_OUT
    msg = (
        f"{owner}.{name}{signature} cannot be called; accepted shapes are "
        f"{name}({shapes[0]}) and {name}({shapes[1]})"
    )
    raise StrategyError(msg)


def _has_more_positions(signature: inspect.Signature, leading: int) -> bool:
    return _fits(signature, *(None,) * (leading + 1))


@define(eq=False)
class HookTable:
    """The shapes of the strategies that a run has seen, one per class."""

    _shapes: dict[type, StrategyShape] = field(factory=dict, init=False)

    def shape_of(self, strategy: LLMCallStrategy[Any]) -> StrategyShape:
        """Return how to call *strategy*.

        Raises:
            StrategyError: A hook fits none of the accepted shapes.
        """
        if not _HOOKS.isdisjoint(getattr(strategy, "__dict__", ())):
            return self._read(strategy)  # it has a hook of its own, which its class has not
        shape = self._shapes.get(type(strategy))
        if shape is None:
            shape = self._shapes[type(strategy)] = self._read(strategy)
        return shape

    def _read(self, strategy: LLMCallStrategy[Any]) -> StrategyShape:
        owner = type(strategy).__name__
        execute = _state_argument(
            owner,
            "execute",
            getattr(strategy, "execute", None),
            ("prompt, attempt, timeout", "prompt, attempt, timeout, state"),
        )
        on_error = None
        if is_own(strategy, "on_error"):
            on_error = _state_argument(
                owner,
                "on_error",
                strategy.on_error,
                ("exception, attempt", "exception, attempt, state"),
            )
        managed = is_own(strategy, "prepare") or is_own(strategy, "cleanup")
        plain = not inspect.iscoroutinefunction(strategy.execute)
        if plain:
            _refuse_plain(owner, strategy.execute)
        price: object = getattr(strategy, "price", None)
        if price is not None and not isinstance(price, Price):
            msg = (
                f"{owner}.price is {kind_of(price)}; give a Price(input=…, output=…), in US "
                "dollars per million tokens, or None"
            )
            raise StrategyError(msg)
        return StrategyShape(execute, on_error, managed, plain)


def _refuse_plain(owner: str, execute: Callable[..., Any]) -> None:
    """Refuse a plain function that cannot return an awaitable: it yields, or says what it gives.

    Of any other plain function only a call can show it; see ``awaitable``.
    """
    given = getattr(execute, "__annotations__", {}).get("return", inspect.Signature.empty)
    says_tuple = (
        given.partition("[")[0] in ("tuple", "Tuple", "typing.Tuple")
        if isinstance(given, str)
        else (get_origin(given) or given) is tuple
    )
    if inspect.isasyncgenfunction(execute):
        msg = f"{owner}.execute yields; return (output, usage) once, with the whole answer"
        raise StrategyError(msg)
    if says_tuple or inspect.isgeneratorfunction(execute):
        raise _not_async(owner)


def _not_async(owner: str) -> StrategyError:
    return StrategyError(
        f"{owner}.execute is not asynchronous; write async def execute(…), and call what blocks "
        "by anyio.to_thread.run_sync"
    )


def awaitable(strategy: LLMCallStrategy[Any], value: Any) -> Awaitable[object]:
    """Return what a plain ``execute`` returned, if it can be awaited.

    Raises:
        StrategyError: It cannot.
    """
    if inspect.isawaitable(value):
        return value
    raise _not_async(type(strategy).__name__)


def read_after_process(middleware: BaseMiddleware) -> bool:
    """Return whether *middleware*'s ``after_process`` takes the item before the result.

    Raises:
        StrategyError: It takes neither ``(result)`` nor ``(work_item, result)``.
    """
    signature = _signature(middleware.after_process)
    if signature is None or _fits(signature, None, None):
        return True
    if _fits(signature, None):
        return False
    msg = (
        f"{type(middleware).__name__}.after_process{signature} cannot be called; accepted "
        "shapes are after_process(result) and after_process(work_item, result)"
    )
    raise StrategyError(msg)


def estimate_of(strategy: LLMCallStrategy[Any], prompt: Any) -> CallCost | None:
    """Return the strategy's own estimate of a call, ``None`` if it makes none.

    Raises:
        TypeError: Its ``estimate`` returned something else than a cost.
    """
    estimated: object = strategy.estimate(prompt)
    if estimated is None or isinstance(estimated, CallCost):
        return estimated
    name = type(estimated).__name__
    msg = f"estimate() returned {name} where a CallCost or None is expected"
    raise TypeError(msg)


def bind_on_error(
    strategy: LLMCallStrategy[Any], takes: StateArgument, attempt: int, state: RetryState
) -> Callable[[BaseException], Any]:
    """Return the ``on_error`` of *strategy* as a function of the exception alone.

    Args:
        strategy: Whose hook it is.
        takes: How it takes the state.
        attempt: The attempt that failed.
        state: The item's.
    """
    hook: Callable[..., Any] = strategy.on_error
    match takes:
        case StateArgument.POSITION:
            return lambda error: hook(error, attempt, state)
        case StateArgument.KEYWORD:
            return lambda error: hook(error, attempt, state=state)
        case StateArgument.LEFT_OUT:
            return lambda error: hook(error, attempt)


async def call_hook(
    hook: Callable[..., Any],
    *args: Any,
    seconds: float | None,
    name: str = "",
    slow: SlowHooks | None = None,
) -> Ended[Any]:
    """Call *hook*, sync or async, and say how it ended.

    Args:
        hook: What to call; an async one has *seconds*, a sync one runs inline and cannot be
            stopped.
        *args: For it.
        seconds: The most that an async one may take; ``None`` is without a bound.
        name: What to call it in a report.
        slow: Reports it if it is sync and holds the event loop.
    """

    async def call() -> Any:
        value = hook(*args) if slow is None else slow.call(name, hook, *args)
        if isinstance(value, Awaitable):
            return await value
        return value

    return await bounded(call, seconds)
