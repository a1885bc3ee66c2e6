"""The life of one chunk as a state machine: pure, and the only place that says what may follow.

A state that a remote action follows is on the disk before the action, so that a process that dies
at any instant finds by it what may have happened. The table is in
``docs/design/provider-batches.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, field, frozen

from batchllm.core import ProgramError
from batchllm.provider_batch.names import ChunkName

__all__ = [
    "CREATED",
    "IN_FLIGHT",
    "NOT_CREATED",
    "OVER",
    "Chunk",
    "Cut",
    "EndKind",
    "Reason",
    "State",
    "advance",
]


class State(StrEnum):
    """The state of a chunk; the names are those in the file and never change."""

    SPOOLED = "spooled"
    """Its lines are on the disk, and nothing of it is at the provider."""
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    CREATING = "creating"
    """A create may be under way: the one step that must not be repeated blindly."""
    QUARANTINE = "quarantine"
    """A create may have succeeded; it is looked for before there is another."""
    RUNNING = "running"
    CANCEL_WANTED = "cancel_wanted"
    CANCELLING = "cancelling"
    ENDED = "ended"
    FETCHED = "fetched"
    """Its results are on the disk."""
    SETTLED = "settled"
    """Each of its lines has an outcome."""
    CLEANED = "cleaned"
    """Each of its results is in the journal, and its files are gone."""
    LOST = "lost"
    """It was paid for, and the provider has it no more."""
    DROPPED = "dropped"
    """It was never created: its lines are in other chunks, or have ended."""


NOT_CREATED: Final = frozenset({State.SPOOLED, State.UPLOADING, State.UPLOADED})
"""States in which there is surely no batch of it."""

CREATED: Final = frozenset({State.RUNNING, State.CANCEL_WANTED, State.CANCELLING})
"""States in which its batch is known, and has not ended."""

IN_FLIGHT: Final = CREATED | {State.CREATING, State.QUARANTINE}
"""States in which the provider may be working on it."""

OVER: Final = frozenset({State.SETTLED, State.CLEANED, State.LOST, State.DROPPED})
"""States in which it needs nothing more from the provider."""

# A provider may report an end at any time after the create, so ENDED follows each of these.
_NEXT: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        State.SPOOLED: frozenset({State.UPLOADING, State.UPLOADED, State.DROPPED}),
        State.UPLOADING: frozenset({State.UPLOADED, State.SPOOLED, State.DROPPED}),
        State.UPLOADED: frozenset({State.CREATING, State.DROPPED}),
        State.CREATING: frozenset(
            {State.RUNNING, State.QUARANTINE, State.UPLOADED, State.DROPPED, State.ENDED}
        ),
        State.QUARANTINE: frozenset({State.RUNNING, State.UPLOADED, State.ENDED}),
        State.RUNNING: frozenset({State.CANCEL_WANTED, State.CANCELLING, State.ENDED, State.LOST}),
        State.CANCEL_WANTED: frozenset({State.CANCELLING, State.ENDED, State.LOST}),
        State.CANCELLING: frozenset({State.ENDED, State.LOST}),
        # Back to UPLOADED when nothing ran: refused for a quota after the create.
        State.ENDED: frozenset({State.FETCHED, State.UPLOADED, State.SETTLED, State.LOST}),
        # To QUARANTINE when the results show that it was the batch of another program.
        State.FETCHED: frozenset({State.SETTLED, State.ENDED, State.QUARANTINE}),
        State.SETTLED: frozenset({State.CLEANED}),
        State.CLEANED: frozenset(),
        State.LOST: frozenset({State.DROPPED}),
        State.DROPPED: frozenset({State.CLEANED}),
    }
)


class EndKind(StrEnum):
    """The kinds of end of a batch."""

    DONE = "done"
    PARTIAL = "partial"
    REJECTED = "rejected"
    """Nothing ran."""


class Reason(StrEnum):
    """The reasons for which we cancel a batch."""

    DEADLINE = "deadline"
    USER = "user"
    GHOST = "ghost"
    """It is a second batch of a chunk that has one."""


class Cut(StrEnum):
    """The reasons for which a batch ends before all of it is done."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"


@frozen(kw_only=True)
class Chunk:
    """One chunk of lines: one file, one batch, as the ledger knows it.

    Attributes:
        number: In the journal, from 1.
        run: The eight characters that stand for the journal in names at the provider.
        state: Where it is.
        attempt: The create that is under way or was the last, from 1.
        round: How often its items have been in a batch, this time included.
        provider: Whose.
        account: At the provider, as ``account_of`` says; empty before it is known.
        path: Of the requests, such as ``/chat/completions``.
        model: That they ask.
        strategy: The digest of the strategy's identity.
        lines: How many.
        size: Bytes of its file.
        tokens: The prompts' tokens, as estimated.
        sha: The SHA-256 of its file, in hexadecimal.
        canary: Whether it goes first and alone, to find out whether the rest can work.
        echo: Whether its answers must have marks.
        file_id: Of the uploaded file.
        batch_id: Of the batch.
        status: The provider's own word for where the batch is.
        done: Requests that the provider counts as processed, where it counts.
        intent: When the create began, in seconds since 1970 on the provider's clock.
        first_intent: The same of its first create, which may have made a batch, too.
        submitted: When the batch was created, the same.
        expires: When the batch expires, the same.
        end: How it ended.
        cut: Why it ended before all of it was done: it expired, or was cancelled by whomever.
        strangers: Batches that were taken for it and turned out to be others'.
        reason: Why we cancelled it.
        outputs: The provider's names of its result files.
        rejections: How often the provider has refused it after the create.
        most_input: Tokens that all its requests have at most.
        longest: The same of its largest request.
        most_output: Tokens of the answers whose requests bound them, at most.
        unbounded: Lines whose requests do not bound the answer.
        reserved_tokens: Tokens of the budget that were set aside for it.
        reserved_cost: US dollars, the same.
        copied: Lines whose items were called for online while it went on.
        twice: Of these, how many it has answered all the same.
        twice_cost: US dollars of those answers, as far as the price is known.
        paid_tokens: Tokens of its answers, once it is settled.
        paid_cost: US dollars of them, as far as the price is known.
        note: A sentence about what happened to it last.
    """

    number: int
    run: str
    state: State = State.SPOOLED
    attempt: int = 0
    round: int = 1
    provider: str
    account: str = ""
    path: str
    model: str
    strategy: bytes = b""
    lines: int
    size: int = 0
    tokens: int = 0
    sha: str = ""
    canary: bool = False
    echo: bool = False
    file_id: str | None = None
    batch_id: str | None = None
    status: str | None = None
    done: int | None = None
    intent: float | None = None
    first_intent: float | None = None
    submitted: float | None = None
    expires: float | None = None
    end: EndKind | None = None
    cut: Cut | None = None
    strangers: tuple[str, ...] = field(default=(), converter=tuple)
    reason: Reason | None = None
    outputs: tuple[str, ...] = field(default=(), converter=tuple)
    rejections: int = 0
    most_input: int = 0
    longest: int = 0
    most_output: int = 0
    unbounded: int = 0
    reserved_tokens: int = 0
    reserved_cost: float = 0.0
    copied: int = 0
    twice: int = 0
    twice_cost: float = 0.0
    paid_tokens: int = 0
    paid_cost: float = 0.0
    note: str = ""

    @property
    def name(self) -> ChunkName:
        """Return its names at the provider."""
        return ChunkName(self.run, self.number, self.attempt, self.sha[:8])

    @property
    def in_flight(self) -> bool:
        """Return whether the provider may be working on it."""
        return self.state in IN_FLIGHT

    @property
    def over(self) -> bool:
        """Return whether it needs nothing more from the provider."""
        return self.state in OVER


def advance(chunk: Chunk, state: State, **changes: Any) -> Chunk:
    """Take a chunk to its next state.

    Args:
        chunk: As it is.
        state: Where it goes.
        changes: What else is known of it now.

    Raises:
        ProgramError: That state cannot follow, or lacks what it must have.
    """
    if state is not chunk.state and state not in _NEXT[chunk.state]:
        msg = f"chunk {chunk.number} cannot go from {chunk.state} to {state}"
        raise ProgramError(msg)
    after = evolve(chunk, state=state, **changes)
    missing = _lacks(after)
    if missing:
        msg = f"chunk {chunk.number} cannot be {state} without {missing}"
        raise ProgramError(msg)
    return after


def _lacks(chunk: Chunk) -> str | None:
    match chunk.state:
        case State.CREATING | State.QUARANTINE if chunk.intent is None or not chunk.attempt:
            return "the time and number of its create"
        case State.RUNNING | State.CANCEL_WANTED | State.CANCELLING if chunk.batch_id is None:
            return "the id of its batch"
        case State.ENDED if chunk.end is None:
            return "the kind of its end"
        case State.CANCEL_WANTED if chunk.reason is None:
            return "a reason"
        case _:
            return None
