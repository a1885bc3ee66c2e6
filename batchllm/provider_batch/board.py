"""The chunks of a run as this process sees them, and how a change of one is written down."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import anyio
from attrs import define, field

from batchllm.core import EndCause, JournalError, Termination, counted
from batchllm.engine import Spending
from batchllm.provider_batch.admission import Admission
from batchllm.provider_batch.filling import Room
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.polling import LONGEST_HINT, within
from batchllm.provider_batch.purse import Purse
from batchllm.provider_batch.states import NOT_CREATED, Chunk, State, advance
from batchllm.provider_batch.wires import BatchWire

__all__ = ["Board", "lost_in_words"]

_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 600.0
_SAVE_SECONDS: Final = 30.0
"""Seconds for writing down what a provider has answered, while everything else is cancelled."""


@define(eq=False)
class Board:
    """The chunks of one run.

    Args:
        ledger: Where they are written down.
        wire: Whose clock counts.
        admission: Learns from what becomes of them.
        room: Shown how many wait to be created, or to be passed on.
        wall_clock: Seconds since 1970 of this machine, until the provider's clock is known.
        warnings: Gets a sentence if something is to be known.
        purse: Closes what was reserved for them; ``None`` without a budget.
        spending: Lets calls have what was given back; ``None`` without a budget.

    Attributes:
        chunks: By their numbers.
        waiting: Items of this run that wait for each chunk.
        copied: Items that were called for online while their batch went on.
        twice: Of these, how many their batch has answered all the same.
        unread: Chunks whose results are there, and have not been passed on.
        termination: Why the run is to end before all its items have; ``None`` while it goes on.
    """

    ledger: BatchLedger
    wire: BatchWire
    admission: Admission
    room: Room
    wall_clock: Callable[[], float]
    warnings: list[str]
    rng: random.Random = field(factory=random.Random)
    purse: Purse | None = None
    spending: Spending | None = None
    chunks: dict[int, Chunk] = field(factory=dict, init=False)
    waiting: Counter[int] = field(factory=Counter, init=False)
    copied: int = field(default=0, init=False)
    twice: int = field(default=0, init=False)
    unread: int = field(default=0, init=False)
    termination: Termination | None = field(default=None, init=False)
    _not_before: dict[int, float] = field(factory=dict, init=False)
    _failures: Counter[int] = field(factory=Counter, init=False)
    _changed: anyio.Event = field(factory=anyio.Event, init=False)

    # -- what is there ---------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Chunk]:
        return iter(list(self.chunks.values()))

    def in_state(self, *states: State) -> list[Chunk]:
        """Return the chunks in one of *states*, the oldest first."""
        return [chunk for chunk in self if chunk.state in states]

    @property
    def in_flight(self) -> list[Chunk]:
        """Return the chunks that the provider may be working on."""
        return [chunk for chunk in self if chunk.in_flight]

    @property
    def wanted(self) -> list[Chunk]:
        """Return the chunks that items of this run wait for, and that are not over."""
        return [chunk for chunk in self if self.waiting[chunk.number] and not chunk.over]

    def numbers(self) -> dict[str, int]:
        """Return how many batches are under way, with their requests and what is done of them.

        ``copied`` and ``paid_twice`` are about items that were called for online as well.
        """
        flying = self.in_flight
        return {
            "batches": len(flying),
            "requests": sum(chunk.lines for chunk in flying),
            "done": sum(chunk.done or 0 for chunk in flying),
            "copied": self.copied,
            "paid_twice": self.twice,
        }

    def counts(self) -> frozenset[int]:
        """Return the numbers of lines of the chunks that are not over."""
        return frozenset(chunk.lines for chunk in self if not chunk.over)

    def server_time(self, now: float) -> float:
        """Return the provider's time at *now*, a time on the loop's clock."""
        offset = self.wire.clock_offset
        return self.wall_clock() if offset is None else now + offset

    # -- changes ---------------------------------------------------------------------------------

    def take_in(self, chunk: Chunk, waiting: int = 0) -> None:
        """Take a chunk that is in the ledger, with the number of items that wait for it."""
        self.chunks[chunk.number] = chunk
        self.waiting[chunk.number] += waiting
        self.look()

    def attach(self, number: int) -> None:
        """Note that one more item waits for a chunk, with which a deadline may come nearer."""
        self.waiting[number] += 1
        self._changed.set()

    async def move(self, chunk: Chunk, state: State, detail: str = "", **changes: Any) -> Chunk:
        """Take a chunk to its next state; it is on the disk when this returns.

        Shielded, since what a provider has answered must not be forgotten because the run is being
        cancelled.

        Raises:
            JournalError: It cannot be written.
        """
        after = advance(chunk, state, **changes)
        with anyio.move_on_after(_SAVE_SECONDS, shield=True) as scope:
            await self.ledger.save(chunk, after, detail)
        if scope.cancelled_caught:
            # What follows may be a create, which must not be made before this is on the disk.
            msg = (
                f"that batch chunk {chunk.number} is {state} could not be written down in "
                f"{_SAVE_SECONDS:g} s: see if the disk of {self.ledger.path} answers, and type "
                "the same again"
            )
            raise JournalError(msg, path=str(self.ledger.path))
        self.put(after)
        return after

    def put(self, after: Chunk) -> None:
        """Show a chunk as it was written down."""
        self.chunks[after.number] = after
        self._failures.pop(after.number, None)
        self._not_before.pop(after.number, None)
        if self.purse is not None and self.purse.follow(after) and self.spending is not None:
            self.spending.look_again()
        self.look()

    def look(self) -> None:
        """Wake the task that waits for a change."""
        waiting = sum(chunk.state in NOT_CREATED for chunk in self.chunks.values())
        self.room.set(waiting + self.unread)
        self._changed.set()

    async def changed(self) -> None:
        """Wait for a change."""
        await self._changed.wait()

    def begin_to_wait(self) -> None:
        """Let :meth:`changed` return for changes from here on only."""
        self._changed = anyio.Event()

    # -- what did not work -----------------------------------------------------------------------

    def is_due(self, chunk: Chunk, now: float) -> bool:
        """Return whether the next step of a chunk may be tried."""
        return self._not_before.get(chunk.number, 0.0) <= now

    def due_at(self, chunk: Chunk) -> float:
        """Return when the next step of a chunk may be tried, on the loop's clock."""
        return self._not_before.get(chunk.number, 0.0)

    def postpone(self, chunk: Chunk, seconds: float) -> None:
        """Try the next step of a chunk after *seconds*."""
        self._not_before[chunk.number] = anyio.current_time() + seconds

    def back_off(self, chunk: Chunk, hint: float | None = None, most: float = LONGEST_HINT) -> int:
        """Try a step that failed again after a pause; return how often in a row it has failed.

        Args:
            chunk: Whose step.
            hint: Seconds that the provider asks to wait.
            most: Of these as many are waited at most.
        """
        self._failures[chunk.number] += 1
        count = self._failures[chunk.number]
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(count - 1, 10))
        self.postpone(chunk, max(pause * (1 + self.rng.uniform(-0.2, 0.2)), within(hint, most)))
        return count

    def end(self, cause: EndCause, reason: str) -> None:
        """End the run; what the provider works on goes on, and the ledger has it."""
        if self.termination is None:
            self.termination = Termination(cause, reason)
        self.look()


def lost_in_words(chunks: list[Chunk]) -> str:
    """Say that the provider has batches no more."""
    ids = ", ".join(str(chunk.batch_id) for chunk in chunks[:5])
    lines = sum(chunk.lines for chunk in chunks)
    return (
        f"the provider has batch {ids} no more, with {counted(lines, 'request')} that may be paid "
        "for; `batchllm jobs RUN cancel` lets them go, so that they are sent again"
    )
