"""The feed: reads the source, and starts items as long as there is room for them.

It alone pulls, and pulls the next only while the window, the delivery and the calls have room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyio.lowlevel import checkpoint
from attrs import define, field

from batchllm.core import (
    BatchError,
    EndCause,
    InvalidItemError,
    JournalError,
    SourceError,
    Termination,
    as_work_item,
)
from batchllm.engine.delivery import Delivery
from batchllm.engine.ending import Ending, Phase
from batchllm.engine.events import Events
from batchllm.engine.guard import in_words
from batchllm.engine.idset import IdSet
from batchllm.engine.intake import END, Source, pull, unreadable
from batchllm.engine.recorder import Recorder
from batchllm.engine.resume import Incoming, Resume
from batchllm.engine.scheduler import Scheduler
from batchllm.engine.waiting import Window
from batchllm.gate import CallerLimits

__all__ = ["Feed", "Reader", "open_source"]

_BURST = 8
"""Items that are started in one turn of the event loop. Small, since the garbage collector has to
look at all that is alive at once."""


@define(eq=False)
class Reader:
    """Reads items in the order of the input: each gets its place, and its entry in the journal.

    Args:
        recorder: Makes the entries.
        texts: Whether a prompt may be a list of texts.
    """

    recorder: Recorder
    texts: bool = False
    _count: int = field(default=0, init=False)
    _ids: IdSet = field(factory=IdSet, init=False)

    def pass_by(self, item_id: str) -> int | None:
        """Count an item that is finished in place of reading it.

        Returns:
            Its position; ``None`` if its id came before, so that it has to be read and refused.
        """
        if not self._ids.add(item_id):
            return None
        self._count += 1
        return self._count - 1

    def read(self, value: object) -> Incoming:
        """Read the next item, or say what is wrong with it."""
        index = self._count
        self._count += 1
        try:
            work = as_work_item(value, index, texts=self.texts)
        except InvalidItemError as error:
            return Incoming(error, index, context=_context_of(value))
        except Exception as error:
            return Incoming(unreadable(index, error), index)
        if not self._ids.add(work.item_id):
            text = f"item {index}: its id {work.item_id!r} came before; ids must be unique"
            return Incoming(InvalidItemError(text), index, context=work.context)
        try:
            return Incoming(work, index, self.recorder.enter(value, work, index))
        except InvalidItemError as error:
            return Incoming(error, index, context=work.context)
        except Exception as error:
            return Incoming(unreadable(index, error), index, context=work.context)


@define(eq=False, kw_only=True)
class Feed:
    """Feeds one batch from one source, once.

    Args:
        source: Where items come from.
        scheduler: Starts them.
        window: Room for items.
        delivery: Where results go; one that is full of unread results stops the feed.
        callers: The run's cap on calls in flight.
        events: What observers have not read yet stops the feed, too.
        recorder: The run ends by it if the journal fails.
        reader: Reads what the source gives.
        resume: Reads in place of the source if there may be finished items.
        ending: Closes the feed.
        reads_ahead: Whether to start items before a call is free for them.
        clock: Seconds on the event loop's clock.
        warnings: Gets a sentence if the source cannot be closed.
    """

    source: Source
    scheduler: Scheduler
    window: Window
    delivery: Delivery
    callers: CallerLimits
    events: Events
    recorder: Recorder
    reader: Reader
    resume: Resume | None
    ending: Ending
    reads_ahead: bool
    clock: Callable[[], float]
    warnings: list[str]

    async def run(self) -> None:
        """Start items until the source is at its end, or the run is; then close the source."""
        try:
            with self.ending.until(Phase.DRAINING):
                while not self.ending.stopping and await self._run_once():
                    while not self._has_room():
                        await self.window.changed()
                    if self.events.active:
                        await self.events.room()
        finally:
            self.callers.more_to_come = False
            complaint = await self.source.close()
            if complaint:
                self.warnings.append(complaint)

    async def _run_once(self) -> bool:
        """Start as many items as calls are free, then let them run; return if more may come."""
        source, in_flight = self.source, self._in_flight()
        burst = self._burst(in_flight)
        waits = self.resume is not None or source.may_wait
        source.begin_burst()
        count, more = await self._start_as_they_come(burst) if waits else self._start_at_once(burst)
        source.end_burst()
        if count < burst:
            return more
        if not waits and self._takes_all(in_flight, burst):
            # Nothing can be started before a call ends, so there is no need to look again once
            # these have started: in a steady state that is a turn of the event loop per item.
            await self.window.changed()
        else:
            await checkpoint()
        return True

    async def _start_as_they_come(self, burst: int) -> tuple[int, bool]:
        """Start at most *burst* items, each as it is read.

        Returns:
            How many, and if more may come.
        """
        for count in range(burst):
            # That calls are free for a burst is known, unless others may take them meanwhile.
            if self.ending.stopping or not self._has_room():
                return count, True
            value = await self._pull()
            if value is END:
                return count, False
            self._start(self._read(value), self.clock())
        return burst, True

    def _start_at_once(self, burst: int) -> tuple[int, bool]:
        """Read at most *burst* items from a source that is not waited for, then start them.

        Not one by one: what runs again at once costs a processor half of what it costs after
        something else.

        Returns:
            How many, and if more may come.
        """
        now, more = self.clock(), True
        read: list[Incoming] = []
        while len(read) < burst and not self.ending.stopping and self._has_place(len(read)):
            value = self._pull_now(len(read))
            if value is END:
                more = False
                break
            read.append(self._read(value))
        for one in read:
            self._start(one, now)
        return len(read), more

    def _takes_all(self, in_flight: int, burst: int) -> bool:
        """Return whether *burst* items beside calls *in_flight* leave no call free.

        Only if something is in flight, so that its end is sure to wake the feed. A new item that
        may wait before it calls wakes it, too: one that waits for a permit or a ``prepare``, and
        each composite as it begins.
        """
        if self.reads_ahead or not in_flight:
            return False
        return in_flight + burst >= self.callers.calls

    def _burst(self, in_flight: int) -> int:
        """Return how many items to start in one go: as many as calls are free for, or a burst.

        None if another attempt of an item has taken the last free call meanwhile.
        """
        return _BURST if self.reads_ahead else min(_BURST, self.callers.calls - in_flight)

    def _in_flight(self) -> int:
        """Return the calls in flight, and those of items whose tasks have not run yet.

        Trio runs its tasks in any order, so the feed may run again before the items that it has
        started hold their calls. Started for the same free calls, others would only wait (one
        item in ten did, with 50 calls in flight).
        """
        return self.callers.in_flight + self.scheduler.starting

    def _has_room(self) -> bool:
        if not self.reads_ahead and (self.callers.full or self._in_flight() >= self.callers.calls):
            return False
        return self._has_place()

    def _has_place(self, ahead: int = 0) -> bool:
        """Return whether window and delivery have room for an item behind *ahead* others."""
        return self.window.has_room(ahead) and self.delivery.has_room(
            self.scheduler.accepted + ahead
        )

    async def _pull(self) -> Any:
        try:
            if self.resume is not None:
                return await self.resume.next()
            return await pull(self.source, max(1, int(self.window.size - self.window.taken)))
        except JournalError as error:
            self.recorder.fail(error)
            return END
        except Exception as error:
            return self._failed(error)

    def _pull_now(self, ahead: int) -> Any:
        try:
            return self.source.next_now()
        except Exception as error:
            return self._failed(error, ahead)

    def _failed(self, error: Exception, ahead: int = 0) -> Any:
        _fail(self.ending, error, self.scheduler.accepted + ahead)
        return END

    def _read(self, value: object) -> Incoming:
        # Not isinstance, which asks an object for its class: a proxy of nothing raises.
        return value if type(value) is Incoming else self.reader.read(value)

    def _start(self, one: Incoming, now: float) -> None:
        size = self.source.size
        if size is not None:
            self.callers.more_to_come = one.position + 1 < size
        self.scheduler.start(one, now)


def _context_of(value: object) -> Any:
    """Return the context of a bad item, by which its user knows it: ``(id, prompt, context)``."""
    return value[2] if isinstance(value, tuple) and len(value) == 3 else None


def open_source(source: Source, ending: Ending) -> None:
    """Begin to read; a source that cannot be read ends the run.

    Raises:
        InvalidItemError: It is nothing to read items from.
    """
    try:
        source.open()
    except BatchError:
        raise
    except Exception as error:
        _fail(ending, error, 0)


def _fail(ending: Ending, error: BaseException, accepted: int) -> None:
    failure = SourceError(
        f"the items raised {in_words(error)}, after {accepted} of them; what was finished is in "
        ".partial"
    )
    failure.__cause__ = error
    ending.fail(failure, Termination(EndCause.SOURCE_FAILED, str(failure)))
