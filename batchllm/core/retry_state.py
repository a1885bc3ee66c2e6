"""The memory of one item from attempt to attempt, and its access to guarded calls."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, final

from batchllm.core.usage import TokenUsage, normalize_usage

if TYPE_CHECKING:
    from batchllm.core.contracts import LLMCallStrategy
    from batchllm.core.error_info import ErrorInfo
    from batchllm.core.hints import ServerHint

__all__ = ["CallGuard", "Reply", "RetryState"]

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Reply(NamedTuple):
    """The answer of a strategy's ``execute``: output, usage (``None`` is unknown) and metadata."""

    output: Any
    usage: TokenUsage | None
    metadata: Mapping[str, Any] | None

    @classmethod
    def read(cls, value: object) -> Reply:
        """Read what ``execute`` returned.

        Raises:
            TypeError: *value* is neither ``(output, usage)`` nor ``(output, usage, metadata)``.
        """
        if type(value) is cls:
            return value
        if isinstance(value, tuple):
            parts: tuple[Any, ...] = value
            if len(parts) == 2:
                return cls(parts[0], normalize_usage(parts[1]), None)
            if len(parts) == 3:
                metadata = parts[2]
                # Most are a dict, and an ABC takes a microsecond to look.
                if metadata is None or type(metadata) is dict or isinstance(metadata, Mapping):
                    return cls(parts[0], normalize_usage(parts[1]), metadata)
        msg = (
            f"execute() returned {type(value).__name__} where (output, usage) or (output, usage, "
            "metadata) is expected; usage may be None when it is unknown, metadata is a mapping"
        )
        raise TypeError(msg)


class CallGuard(Protocol):
    """The engine's side of a ``RetryState``."""

    def progress(self) -> None:
        """Note that a piece of a streamed answer arrived."""

    def observe(self, hint: ServerHint) -> None:
        """Note the limits that a reply reported."""

    def book(self, usage: TokenUsage | None, cost: float | None) -> None:
        """Add tokens and dollars to the item's bill that no call of this run has used."""

    def price(
        self,
        inner: LLMCallStrategy[Any],
        usage: TokenUsage | None,
        metadata: Mapping[str, Any] | None = None,
    ) -> float | None:
        """Return what a call of *inner* costs online; ``None`` if its price is not known."""
        return None

    async def call(
        self, inner: LLMCallStrategy[Any], prompt: Any, attempt: int, timeout: float
    ) -> Reply:
        """Make a guarded call of *inner*."""
        ...

    def explain(self, error: Exception) -> ErrorInfo | None:
        """Return what *error* means; ``None`` if only the caller can say."""
        return None

    def is_closed(self, inner: LLMCallStrategy[Any]) -> bool:
        """Return whether a call of *inner* would have to wait for its quota scope to open again."""
        return False

    def is_unanswered(self, inner: LLMCallStrategy[Any]) -> bool:
        """Return whether a call of *inner* would wait for an endpoint that does not answer."""
        return False


@final
class RetryState:
    """One item's memory, seen by each of its attempts and by ``on_error``.

    A dictionary with ``get``, ``set``, ``delete``, ``clear`` and ``in``. It is always true in a
    boolean test, also when it is empty. Within a batch it gives the item access to guarded calls
    (:meth:`call`), too; one that is made by hand calls strategies directly, for unit tests.
    """

    __slots__ = ("_guard", "_values")

    def __init__(
        self, values: dict[str, Any] | None = None, *, _guard: CallGuard | None = None
    ) -> None:
        self._values: dict[str, Any] = {} if values is None else values
        self._guard = _guard

    def get(self, key: str, default: Any = None) -> Any:
        """Return the stored object itself (not a copy), or *default*."""
        return self._values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Store *value* under *key*."""
        self._values[key] = value

    def delete(self, key: str) -> None:
        """Forget *key*; one that is not there is no error."""
        self._values.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __repr__(self) -> str:
        return f"RetryState({sorted(map(str, self._values))})"

    def progress(self) -> None:
        """Mark the start of a streamed request, and then each chunk of its answer.

        From the first mark on, ``stall_timeout`` bounds the time to the next one: the time to
        the first token, and each gap between tokens.
        """
        if self._guard is not None:
            self._guard.progress()

    def observe(self, hint: ServerHint) -> None:
        """Pass on the limits that a successful reply reported, such as its rate-limit headers."""
        if self._guard is not None:
            self._guard.observe(hint)

    def book(self, usage: TokenUsage | None, cost: float | None) -> None:
        """Add tokens to the item's bill that were paid for without a call of this run.

        For composites whose answer comes from elsewhere, such as a provider's batch. What is called
        by :meth:`call` is booked there.

        Args:
            usage: The tokens; ``None`` if they are not known.
            cost: US dollars; ``None`` if they are not known.
        """
        if self._guard is not None:
            self._guard.book(usage, cost)

    def price(
        self,
        inner: LLMCallStrategy[Any],
        usage: TokenUsage | None,
        metadata: Mapping[str, Any] | None = None,
    ) -> float | None:
        """Return what a call of *inner* costs online, in US dollars.

        Args:
            inner: One of the composite's ``parts``.
            usage: The tokens that it took.
            metadata: What the reply said beside its answer.

        Returns:
            ``None`` if its price or its tokens are not known, and in a state that was made by hand.
        """
        return None if self._guard is None else self._guard.price(inner, usage, metadata)

    async def call(
        self, inner: LLMCallStrategy[Any], prompt: Any, attempt: int, timeout: float
    ) -> Reply:
        """Call another strategy, admitted, timed and billed in its own quota scope.

        For composites (``quota_scope = None``), which make no calls of their own.

        Args:
            inner: The strategy to call. One of the composite's ``parts``, so that the run
                prepares it and cleans it up.
            prompt: Its prompt.
            attempt: Passed on to it, from 1.
            timeout: Seconds for this call; what the item has left bounds it, too.

        Returns:
            What *inner* returned, usage read and metadata ``None`` where there was none.

        Raises:
            Exception: Whatever *inner* raised; ``FrameworkTimeoutError`` when time was up.
        """
        if self._guard is not None:
            return await self._guard.call(inner, prompt, attempt, timeout)
        args = (prompt, attempt, timeout)
        try:
            inspect.signature(inner.execute).bind(*args, self)
        except TypeError:  # it has no parameter for the state
            return Reply.read(await inner.execute(*args))
        return Reply.read(await inner.execute(*args, self))

    def explain(self, error: Exception) -> ErrorInfo | None:
        """Return what the run takes an *error* of :meth:`call` to mean.

        Returns:
            The judgement of the run's classifiers; ``None`` in a state that was made by hand.
        """
        return None if self._guard is None else self._guard.explain(error)

    def is_closed(self, inner: LLMCallStrategy[Any]) -> bool:
        """Return whether a call of *inner* would have to wait for its scope, or would be refused.

        A scope is closed while it cools down after a rate limit and when it is parked; a
        composite is closed when all its parts are.
        """
        return self._guard is not None and self._guard.is_closed(inner)

    def is_unanswered(self, inner: LLMCallStrategy[Any]) -> bool:
        """Return whether a call of *inner* would wait for an endpoint that does not answer.

        It is false at the moments when a call is needed to find out whether it answers again.
        """
        return self._guard is not None and self._guard.is_unanswered(inner)
