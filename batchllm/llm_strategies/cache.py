"""Answer the same prompt once, however often it is asked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, Generic

import anyio
import msgspec
from attrs import Attribute, define, field
from typing_extensions import TypeVar

from batchllm.core import (
    Category,
    ErrorClassifier,
    ErrorInfo,
    LLMCallStrategy,
    Reply,
    RetryState,
    TokenUsage,
    explain_arguments,
    refuse,
)
from batchllm.llm_strategies.accept import StrategyLike, as_strategy
from batchllm.llm_strategies.composite import Composite
from batchllm.transport import SharedLock, loop_of_now

__all__ = ["ResponseCache"]

T = TypeVar("T", default=Any)

_encode = msgspec.json.Encoder(order="deterministic").encode
_encode_loosely = msgspec.json.Encoder(order="deterministic", enc_hook=repr).encode

_OWN: Final = frozenset({Category.BAD_OUTPUT, Category.STOPPED, Category.CANCELLED})


@define(eq=False)
class _Flight:
    """A call that others wait for: how it ended, once it has landed."""

    landed: anyio.Event = field(factory=anyio.Event)
    reply: Reply | None = None
    error: Exception | None = None
    traceback: TracebackType | None = None


def _is_a_store(instance: Any, attribute: Attribute[Any], store: object) -> None:
    if not isinstance(store, MutableMapping):
        refuse(instance, attribute, store, "a mapping that can be changed, such as a dict")


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class ResponseCache(Composite[T], Generic[T]):
    """Keeps answers by prompt, and makes one call for identical prompts that come together.

    The first of them calls and the others wait, without holding a permit. If the call fails,
    those that wait fail with it, and the next to ask calls anew: a failure is never kept. Only if
    the failure is the first one's own, since it was cancelled, ran out of its time or got an
    answer that is not valid, the next one calls in its place. None waits for another's call
    longer than its own may take. Items with the same prompt get the same output object, so
    do not change outputs in place. A prompt that has no form in JSON is not cached.

    Example::

        ResponseCache("openai:gpt-5-mini")

    Args:
        inner: Makes the calls.
        store: Where answers are kept, by a text that names prompt and strategy. By default the
            most recent 10,000 in memory.

    Attributes:
        hits: Prompts that were answered without a call.
        misses: Calls that were made.

    Raises:
        StrategyError: *inner* cannot be a strategy.
        ConfigError: *store* is not a mapping.
    """

    store: MutableMapping[str, Reply] = field(init=False, validator=_is_a_store)
    hits: int = field(init=False, default=0)
    misses: int = field(init=False, default=0)

    def __init__(
        self, inner: StrategyLike[T], store: MutableMapping[str, Reply] | None = None
    ) -> None:
        self.parts = (as_strategy(inner),)
        self.store = _Recent(10_000) if store is None else store
        self.hits = self.misses = 0
        # By event loop, too: a caller can wait for a call of its own loop only.
        self._flights: dict[tuple[Any, str], _Flight] = {}
        self._strategy: bytes | None = None
        # Invariant: hits and misses are counted under the lock, since several event loops may
        # share an instance.
        self._lock = SharedLock()

    def __getstate__(self) -> dict[str, Any]:
        # Calls under way belong to the loops that wait for them.
        return {**self.__dict__, "_flights": {}}

    @property
    def error_classifier(self) -> ErrorClassifier | None:
        """Return that of the inner strategy, for items that fail with another's call."""
        return getattr(self.parts[0], "error_classifier", None)

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        """Give the answer that is kept or under way, else call.

        Raises:
            Exception: What the call raised.
        """
        return await self.ask(self.parts[0], prompt, attempt, timeout, memory)

    async def ask(
        self,
        inner: LLMCallStrategy[Any],
        prompt: Any,
        attempt: int,
        timeout: float,
        memory: RetryState,
    ) -> Reply:
        """Give the answer that is kept or under way, else have *inner* call.

        Args:
            inner: The strategy within, or one that stands for it, whose answers come another way.
            prompt: What is asked.
            attempt: From 1.
            timeout: Seconds.
            memory: The item's.

        Raises:
            Exception: What the call raised.
        """
        key = self.key_of(prompt)
        if key is None:
            self._count_miss()
            return await memory.call(inner, prompt, attempt, timeout)
        while True:
            kept = self.store.get(key)
            if kept is not None:
                return self._hit(kept)
            flight = self._flights.get((loop_of_now(), key))
            if flight is None:
                return await self._lead(key, inner, prompt, attempt, timeout, memory)
            with anyio.move_on_after(timeout):
                await flight.landed.wait()
            if not flight.landed.is_set():
                return await self._ask(key, inner, prompt, attempt, timeout, memory)
            if flight.reply is not None:
                return self._hit(flight.reply)
            if flight.error is not None:
                raise flight.error.with_traceback(flight.traceback)

    async def _lead(
        self,
        key: str,
        inner: LLMCallStrategy[Any],
        prompt: Any,
        attempt: int,
        timeout: float,
        memory: RetryState,
    ) -> Reply:
        here = (loop_of_now(), key)
        flight = self._flights[here] = _Flight()
        try:
            flight.reply = await self._ask(key, inner, prompt, attempt, timeout, memory)
        except Exception as error:
            if not _is_the_leaders_own(self.meaning(error, inner, memory)):
                flight.error, flight.traceback = error, error.__traceback__
            raise
        finally:
            del self._flights[here]
            flight.landed.set()
        return flight.reply

    async def _ask(
        self,
        key: str,
        inner: LLMCallStrategy[Any],
        prompt: Any,
        attempt: int,
        timeout: float,
        memory: RetryState,
    ) -> Reply:
        self._count_miss()
        reply = await memory.call(inner, prompt, attempt, timeout)
        self.store[key] = reply
        return reply

    def _count_miss(self) -> None:
        with self._lock:
            self.misses += 1

    def _hit(self, reply: Reply) -> Reply:
        with self._lock:
            self.hits += 1
        nothing: TokenUsage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        return Reply(reply.output, nothing, {**(reply.metadata or {}), "cached": True})

    def key_of(self, prompt: Any) -> str | None:
        """Return the text under which an answer is kept; ``None`` if it is not.

        Args:
            prompt: What is asked.
        """
        try:
            asked = _encode(prompt)
        except (TypeError, ValueError, RecursionError):
            return None
        if self._strategy is None:
            self._strategy = _encode_loosely(self.parts[0].identity())
        return sha256(self._strategy + b"\n" + asked).hexdigest()


class _Recent(MutableMapping[str, Reply]):
    """Keeps the entries that were used last, for several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Invariant: an entry is looked for, moved and dropped under the lock.
        self._lock = SharedLock()
        self._entries: OrderedDict[str, Reply] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Recent, (self._most,), None, None, iter(self.items())

    def __getitem__(self, key: str) -> Reply:
        with self._lock:
            self._entries.move_to_end(key)
            return self._entries[key]

    def __setitem__(self, key: str, value: Reply) -> None:
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._most:
                self._entries.popitem(last=False)

    def __delitem__(self, key: str) -> None:
        with self._lock:
            del self._entries[key]

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


def _is_the_leaders_own(info: ErrorInfo) -> bool:
    """Return whether a failure says nothing about the others' calls.

    Its item is out of time, or the batch is over. After an answer that is not valid each item may
    ask differently, by what a strategy within remembers of it.
    """
    out_of_time = info.is_timeout and not info.is_retryable
    return out_of_time or info.error_category in _OWN
