"""Reading on where earlier runs have finished: what is done is looked up before it is started.

Items are looked up in chunks, which grow as long as all of a chunk was finished: one by one a
million lookups would take a thread's hop each. So a source is read at most a chunk further than the
window allows, and only while everything that comes is finished.

Of a chunk in a row of finished ones the plainest items, an id and a text, are looked up by these
alone: to read each item and enter it in the journal took two thirds of the time of passing over it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from attrs import define, field

from batchllm.core import InvalidItemError, LLMWorkItem, Tally, WorkItemResult
from batchllm.engine.delivery import Delivery
from batchllm.engine.intake import END, Source, pull
from batchllm.engine.recorder import Recorder
from batchllm.journal import Entry, ItemKey, Taken

__all__ = ["Incoming", "Reads", "Resume"]

_MOST: Final = 256
"""Items of a chunk: from here on a lookup of 2 µs costs more than its share of a thread's hop."""
_ROW: Final = 16
"""Items of a chunk from which on most are likely to be finished, so that a glance is worth it."""


class Incoming(NamedTuple):
    """An item that was read, with what is known of it.

    A tuple, since a million are made when a run goes on that was nearly done, and an attrs class
    that is frozen takes three times as long.

    Attributes:
        work: The item, or what is wrong with it.
        position: Its position in the input, from 0.
        entry: What its journal knows it by.
        taken: What an earlier run finished of it.
        context: Of something that is no valid item, as far as it has one.
        went_in: If middleware has seen it before it came here.
        early: Its result, if middleware gave it one then.
    """

    work: LLMWorkItem[Any, Any, Any] | InvalidItemError
    position: int
    entry: Entry | None = None
    taken: Taken | None = None
    context: Any = None
    went_in: bool = False
    early: WorkItemResult[Any, Any] | None = None


class Reads(Protocol):
    """Reads what a source gave."""

    def read(self, value: object) -> Incoming:
        """Read one item, and enter it."""
        ...

    def pass_by(self, item_id: str) -> int | None:
        """Count an item in place of reading it: its position, or ``None`` if it has to be read."""
        ...


@define(eq=False)
class Resume:
    """Looks items up, and passes over those that are finished.

    Args:
        source: Where items come from.
        reading: Reads them.
        recorder: Knows what is finished.
        delivery: Learns which items have no result in this run.
        tally: Counts them.

    Attributes:
        passed: The position behind the last item that has no result in this run.
    """

    source: Source
    reading: Reads
    recorder: Recorder
    delivery: Delivery
    tally: Tally
    passed: int = field(default=0, init=False)
    _ready: deque[Incoming] = field(factory=deque, init=False)
    _most: int = field(default=1, init=False)
    _ended: bool = field(default=False, init=False)
    _error: Exception | None = field(default=None, init=False)

    async def next(self) -> Any:
        """Return the next item that needs something done, or ``END``.

        Raises:
            Exception: What the source raised.
            JournalError: The journal cannot be read, or refuses.
        """
        while not self._ready:
            if self._error is not None:
                raise self._error
            if self._ended:
                return END
            await self._read_chunk()
        return self._ready.popleft()

    async def _read_chunk(self) -> None:
        values = await self._pull_some()
        if len(values) >= _ROW and not self.recorder.replays:
            values = await self._pass_by(values)
        chunk = [self.reading.read(value) for value in values]
        entries = [one.entry for one in chunk if one.entry is not None]
        found = iter(await self.recorder.look_up(entries) if entries else ())
        all_finished = True
        for one in chunk:
            taken = None if one.entry is None else next(found)
            if taken is None:
                all_finished = False
                self._ready.append(one)
            elif taken.result is None:
                self.tally.before += 1
                self.passed = one.position + 1
                self.delivery.pass_over(one.position)
            else:
                self._ready.append(Incoming(one.work, one.position, one.entry, taken))
        self._most = min(_MOST, 2 * self._most) if all_finished else 1

    async def _pass_by(self, values: Sequence[Any]) -> list[Any]:
        """Pass over what a glance shows to be finished; return the rest, which has to be read.

        Raises:
            JournalError: The journal cannot be read.
        """
        glances = [self.recorder.glance(value) for value in values]
        plain = [one for one in glances if one is not None]
        answered = await self.recorder.answered(plain) if plain else set[ItemKey]()
        rest = list[Any]()
        for value, glance in zip(values, glances, strict=True):
            if rest or glance is None or glance[0] not in answered:
                rest.append(value)  # and all behind it, so that each is counted at its place
                continue
            position = self.reading.pass_by(value[0])
            if position is None:
                rest.append(value)
                continue
            self.passed = position + 1
            self.delivery.pass_over(position)
        self.recorder.count_passed(len(values) - len(rest))
        return rest

    async def _pull_some(self) -> list[Any]:
        """Read a chunk; what the source raises after some items is kept for later."""
        source, values = self.source, list[Any]()
        try:
            if source.may_wait:
                values.append(await pull(source, self._most))
                while len(values) < self._most and values[-1] is not END and source.has_ready:
                    values.append(await pull(source, 1))
            else:
                source.begin_burst()
                while len(values) < self._most and (not values or values[-1] is not END):
                    values.append(source.next_now())
                source.end_burst()
        except Exception as error:
            self._error = error
        if values and values[-1] is END:
            self._ended = True
            values.pop()
        return values
