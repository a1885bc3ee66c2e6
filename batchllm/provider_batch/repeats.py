"""Items that ask what another item asks: one line is sent, and its answer is for all of them.

Only with ``ResponseCache``, which says that one answer may serve for several items. The first item
with a prompt has a line, and those that repeat it wait on the disk. When the answer is there the
first puts it into the cache, and the others find it there, at no cost.
"""

from __future__ import annotations

from typing import Any, Final

import anyio
from attrs import define, field

from batchllm.core import ErrorClassifier, LLMCallStrategy, Reply, RetryState
from batchllm.llm_strategies import Composite, ResponseCache
from batchllm.provider_batch.rows import LineRow

__all__ = ["Following", "Leading", "Repeats"]

_SECONDS: Final = 10.0
"""Seconds from the start of the first item until its call is under way: a turn of the loop."""


@define(eq=False)
class Repeats:
    """Knows which items of a run repeat which.

    It keeps a number for each prompt in memory, about 100 bytes.

    Args:
        cache: The strategy of the run.

    Attributes:
        count: Items that had no line, since another asked the same.
    """

    cache: ResponseCache[Any]
    count: int = field(default=0, init=False)
    _first: dict[int, int] = field(factory=dict, init=False)
    _waiting: dict[int, list[LineRow]] = field(factory=dict, init=False)
    _taken: set[int] = field(factory=set, init=False)
    _begun: dict[int, anyio.Event] = field(factory=dict, init=False)
    _failed: dict[int, Exception] = field(factory=dict, init=False)

    def first_of(self, prompt: Any) -> int | None:
        """Return the line that asks *prompt*; ``None`` if no line does."""
        key = self.cache.key_of(prompt)
        return None if key is None else self._first.get(_number(key))

    def is_kept(self, prompt: Any) -> bool:
        """Return whether the answer is in the cache."""
        key = self.cache.key_of(prompt)
        return key is not None and key in self.cache.store

    def lead(self, prompt: Any, line: int) -> None:
        """Note the line that asks *prompt*."""
        key = self.cache.key_of(prompt)
        if key is not None:
            self._first[_number(key)] = line

    def wait(self, first: int, row: LineRow) -> None:
        """Let an item wait until the line that asks the same has its answer."""
        self.count += 1
        self._waiting.setdefault(first, []).append(row)

    def take(self, first: int) -> list[LineRow]:
        """Return the items that wait for a line, after which none may wait for it any more."""
        self._taken.discard(first)
        return self._waiting.pop(first, [])

    # -- while the first is with the engine ------------------------------------------------------

    def take_out(self, first: int) -> None:
        """Note that the item of a line is about to be passed on."""
        self._taken.add(first)

    def is_taken_out(self, first: int) -> bool:
        """Return whether the item of a line is about to be passed on, so that others may wait."""
        return first in self._taken

    def pass_on(self, first: int) -> None:
        """Note that the item of a line is on its way to the engine, and may begin from now on."""
        self._taken.add(first)
        self._begun[first] = anyio.Event()

    def is_under_way(self, first: int) -> bool:
        """Return whether the item of a line is with the engine, and has not ended there."""
        return first in self._begun

    def begin(self, first: int) -> None:
        """Note that its call is about to be under way, so that others wait for that."""
        if first in self._begun:
            self._begun[first].set()

    def end(self, first: int, failed: Exception | None) -> None:
        """Note that it has ended: its answer is in the cache, if it has one."""
        self._begun.pop(first, None)
        if failed is not None:
            self._failed[first] = failed

    def failure(self, first: int) -> Exception | None:
        """Return what the first attempt of the item of a line failed with."""
        return self._failed.get(first)

    async def begun(self, first: int) -> None:
        """Wait until it is under way or has ended."""
        event = self._begun.get(first)
        if event is not None:
            with anyio.move_on_after(_SECONDS):
                await event.wait()


class Leading(Composite[Any]):
    """Gives the first of several items its answer, and puts it into the cache.

    Args:
        repeats: Learns that it begins and ends.
        inner: Has the answer of the batch, or calls.
        line: The item's.
    """

    def __init__(self, repeats: Repeats, inner: LLMCallStrategy[Any], line: int) -> None:
        self.parts = (inner,)
        self.repeats = repeats
        self.line = line

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        """Have the inner strategy make one attempt, through the cache.

        Raises:
            Exception: What it raised.
        """
        cache, (inner,) = self.repeats.cache, self.parts
        self.repeats.begin(self.line)
        failed: Exception | None = None
        try:
            return await cache.ask(inner, prompt, attempt, timeout, memory)
        except Exception as error:
            failed = error
            raise
        finally:
            self.repeats.end(self.line, failed)


class Following(Composite[Any]):
    """Gives an item what the first item with its prompt was answered.

    Args:
        repeats: Knows when that one is under way.
        first: The line of that item.
    """

    def __init__(self, repeats: Repeats, first: int) -> None:
        self.parts = repeats.cache.parts
        self.repeats = repeats
        self.first = first

    @property
    def error_classifier(self) -> ErrorClassifier | None:
        """Return that of the strategy within, since the item may fail with another's call."""
        return self.repeats.cache.error_classifier

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        """Take the answer from the cache, or call if it is not there.

        Raises:
            Exception: As the first item failed, or what the call raised.
        """
        await self.repeats.begun(self.first)
        (inner,) = self.parts
        failed = self.repeats.failure(self.first)
        if failed is not None and attempt == 1 and not self.repeats.is_kept(prompt):
            raise failed  # as those that wait for a call online fail with it
        return await self.repeats.cache.ask(inner, prompt, attempt, timeout, memory)


def _number(key: str) -> int:
    """Return 64 bits of a digest in hexadecimal, which take less room than its text."""
    return int(key[:16], 16)
