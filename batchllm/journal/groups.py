"""Groups of rows that are written together: one group is one transaction.

Calls that begin and end within one group leave no trace but that of a failure, so a run whose calls
are quicker than the disk writes little more than its results.
"""

from __future__ import annotations

from typing import NamedTuple

from attrs import define, field

from batchllm.journal.identity import ItemKey

__all__ = ["CallBegun", "CallFailed", "Committed", "Group", "Quota", "Refused", "Sample"]


class CallBegun(NamedTuple):
    """A call was started."""

    call: int
    key: ItemKey
    attempt: int
    started: float


class CallFailed(NamedTuple):
    """A call ended without an answer; ``usage`` is JSON."""

    call: int
    ended: float
    category: str
    error: str
    usage: str | None


class Committed(NamedTuple):
    """A result; its fields are the columns of ``items``, ``payload`` not yet packed."""

    key: ItemKey
    prompt: bytes | None
    strategy: bytes
    own: bool
    state: int
    pending: bool
    position: int
    started: float
    finished: float
    cost: float | None
    input_tokens: int | None
    output_tokens: int | None
    row_end: int | None
    payload: bytes


class Refused(NamedTuple):
    """A line that was never sent, since it is wrong; the output ends behind it at ``row_end``."""

    place: str
    row: bytes
    row_end: int


class Sample(NamedTuple):
    """The progress of the run at one moment, as JSON."""

    at: float
    data: str


class Quota(NamedTuple):
    """The knowledge about one quota scope."""

    scope: str
    rate: float
    age: float


@define(eq=False)
class Group:
    """Gathers what one transaction writes.

    Attributes:
        begun: Calls under way, by their number.
        failed: Calls that ended without an answer.
        answered: Numbers of calls whose answer is in a result of this group.
        results: Results, in the order of their arrival.
        identities: Strategies of the results, digest and canonical JSON.
        processed: Items whose post-processor is done.
        rows: Rows of the output file, with its length behind each.
        refused: Rows of lines that were never sent.
        samples: Samples over time.
        quotas: What was learned, the last of each scope.
        facts: Values that belong to no table, the last of each name.
        flushes: Tasks that wait for it without a result of their own.
    """

    begun: dict[int, CallBegun] = field(factory=dict)
    failed: list[CallFailed] = field(factory=list)
    answered: list[int] = field(factory=list)
    results: list[Committed] = field(factory=list)
    identities: dict[bytes, str] = field(factory=dict)
    processed: list[ItemKey] = field(factory=list)
    rows: list[tuple[ItemKey, int]] = field(factory=list)
    refused: list[Refused] = field(factory=list)
    samples: list[Sample] = field(factory=list)
    quotas: dict[str, Quota] = field(factory=dict)
    facts: dict[str, str] = field(factory=dict)
    flushes: int = 0

    def __bool__(self) -> bool:
        return bool(
            self.results
            or self.begun
            or self.failed
            or self.answered
            or self.processed
            or self.rows
            or self.refused
            or self.samples
            or self.quotas
            or self.facts
            or self.flushes
        )

    @property
    def awaited(self) -> int:
        """Return how many tasks wait for it at most."""
        return len(self.results) + len(self.processed)

    def commit(self, result: Committed, identity: str, calls: list[int]) -> None:
        """Add a result, with its strategy's identity and the calls that were answered for it."""
        self.results.append(result)
        self.identities[result.strategy] = identity
        for call in calls:
            if self.begun.pop(call, None) is None:
                self.answered.append(call)
