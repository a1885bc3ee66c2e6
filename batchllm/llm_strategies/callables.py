"""Any function as a strategy: an async one as it is, a sync one in a thread."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from attrs import Attribute, define, field

from batchllm.core import (
    LLMCallStrategy,
    RetryState,
    StrategyError,
    TokenUsage,
    explain_arguments,
    normalize_usage,
    number,
)
from batchllm.transport import ThreadLimits, ThreadRunner, run_in_thread

__all__ = ["CallableStrategy", "from_callable"]

logger = logging.getLogger("batchllm")

_SHAPES: Final = (
    "fn(prompt), with parameters named attempt, timeout and state where it wants them; any "
    "other needs a default"
)
_OFFERED: Final = ("attempt", "timeout", "state")
_USAGE_KEYS: Final = frozenset(TokenUsage.__annotations__)


def _can_be_called(instance: Any, attribute: Attribute[Any], function: Any) -> None:
    _wanted_parameters(function)


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class CallableStrategy(LLMCallStrategy[Any]):
    """Calls a function for each attempt.

    Args:
        function: ``fn(prompt)``, async or sync. Parameters named ``attempt``, ``timeout`` and
            ``state`` are filled in. It returns the output, or ``(output, usage)``, or
            ``(output, usage, metadata)`` with usage as a mapping, a provider's usage object or
            ``None``; another tuple is an output.
        threads: The most threads at once for a sync function.
        version: Names the present form of the function for a journal, which then asks anew once
            it is another. A lambda, or a function within another, has no other name that holds.
        run_sync: Calls a sync function, by default in a thread.

    Raises:
        StrategyError: *function* cannot be called so.
        ConfigError: *threads* is no whole number above 0.

    Example:
        >>> CallableStrategy(str.upper)
        from_callable(str.upper)
    """

    per_loop = True

    function: Callable[..., Any] = field(init=False, validator=_can_be_called)
    threads: int = field(init=False, validator=number(least=1, whole=True))
    version: str | None = field(init=False)

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        threads: int = 40,
        version: str | None = None,
        run_sync: ThreadRunner = run_in_thread,
    ) -> None:
        self.function = function
        self.version = version
        self.threads = threads
        self._run_sync = run_sync
        self._is_async = _is_async(function)
        self._wanted = _wanted_parameters(function)
        self._limits = ThreadLimits(threads)
        self._gave_nothing = False

    def __repr__(self) -> str:
        return f"from_callable({_name(self.function)})"

    async def prepare(self) -> None:
        """Start with a fresh count of threads on this event loop."""
        await self._limits.renew()

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[Any, TokenUsage | None, Mapping[str, Any] | None]:
        """Call the function once.

        Raises:
            Exception: What the function raised.
        """
        offered = {"attempt": attempt, "timeout": timeout, "state": state}
        call = partial(self.function, prompt, **{name: offered[name] for name in self._wanted})
        if self._is_async:
            result = await call()
        else:
            limiter = self._limits.of_this_loop()
            result = await self._run_sync(call, limiter=limiter)
            if inspect.isawaitable(result):  # a lambda round an async function
                result = await result
        if result is None and not self._gave_nothing:
            self._gave_nothing = True
            logger.warning(
                "%s returned None, and None is the output; if that is not meant, it may lack a "
                "return (said once)",
                _name(self.function),
            )
        return _read_result(result)

    def identity(self) -> Mapping[str, Any]:
        """Name the function by its module and name, and by its version if it has one."""
        version = {} if self.version is None else {"version": self.version}
        return {"class": "from_callable", "function": _whole_name(self.function), **version}


def from_callable(
    function: Callable[..., Any], *, threads: int = 40, version: str | None = None
) -> CallableStrategy:
    """Make a strategy of a function; see ``CallableStrategy``.

    Example:
        >>> async def answer(prompt: str) -> str:
        ...     return prompt.upper()
        >>> from_callable(answer)
        from_callable(answer)
    """
    return CallableStrategy(function, threads=threads, version=version)


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(type(function), "__call__", None)  # noqa: B004 - of an object, not whether
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _name(function: Callable[..., Any]) -> str:
    inner = function.func if isinstance(function, partial) else function
    return getattr(inner, "__qualname__", type(inner).__qualname__)


def _whole_name(function: Callable[..., Any]) -> str:
    inner = function.func if isinstance(function, partial) else function
    module = getattr(inner, "__module__", None) or type(inner).__module__
    return f"{module}:{_name(function)}"


def _wanted_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    if not callable(function):
        msg = f"a {type(function).__name__} is no function; give {_SHAPES}"
        raise StrategyError(msg)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none to show
        return ()
    by_name = {
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    wanted = tuple(name for name in _OFFERED if name in by_name)
    try:
        signature.bind(None, **dict.fromkeys(wanted))
    except TypeError as error:
        msg = (
            f"{_name(function)}{signature} cannot be called as a strategy ({error}); give {_SHAPES}"
        )
        raise StrategyError(msg) from error
    return wanted


def _read_result(result: Any) -> tuple[Any, TokenUsage | None, Mapping[str, Any] | None]:
    if type(result) is not tuple:
        return result, None, None
    parts: tuple[Any, ...] = result
    if len(parts) not in (2, 3) or not _is_usage(parts[1]):
        return result, None, None
    metadata = parts[2] if len(parts) == 3 else None
    if metadata is not None and not isinstance(metadata, Mapping):
        return result, None, None
    return parts[0], normalize_usage(parts[1]), metadata


def _is_usage(value: Any) -> bool:
    if isinstance(value, Mapping):
        counts: Mapping[Any, Any] = value
        return counts.keys() <= _USAGE_KEYS or normalize_usage(counts) is not None
    return value is None or normalize_usage(value) is not None
