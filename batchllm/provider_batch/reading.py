"""Reading the result files of a batch: what each line becomes, and what was paid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from attrs import define, evolve, field

from batchllm.core import Price
from batchllm.provider_batch.billing import Bill, paid_of
from batchllm.provider_batch.echo import has_mark
from batchllm.provider_batch.names import custom_id_prefix
from batchllm.provider_batch.rows import Answer, LineState
from batchllm.provider_batch.spool import Spool
from batchllm.provider_batch.states import Chunk
from batchllm.provider_batch.verdicts import LineKind, LineOutcome, NextOfLine
from batchllm.provider_batch.wires import BatchWire

__all__ = ["STATES", "Reading", "lines_in", "read_results"]

STATES: Final = {
    NextOfLine.PUBLISH: LineState.ANSWERED,
    NextOfLine.BATCH: LineState.WAITING,
    NextOfLine.WAIT: LineState.WAITING,
    NextOfLine.ONLINE: LineState.ONLINE,
}
"""The state of a line, by what is to become of it."""


@define(eq=False)
class Reading:
    """The answers in the result files of one chunk."""

    bill: Bill
    twice: Bill
    answers: list[Answer] = field(factory=list)
    kinds: dict[LineKind, int] = field(factory=dict)
    account: str = ""
    nameless: int = 0
    unmarked: int = 0

    def paid(self, chunk: Chunk) -> dict[str, Any]:
        """Return what the batch took, as fields of its chunk."""
        mine = custom_id_prefix(chunk.run)
        here = {a.custom_id for a in self.answers if a.custom_id.startswith(mine)}
        return paid_of(chunk, self.bill, self.twice, max(0, chunk.lines - len(here)))

    def is_strange(self, run: str) -> bool:
        """Return whether none of the answers has an id of ours: it is the batch of others."""
        mine = custom_id_prefix(run)
        return bool(self.answers) and not any(a.custom_id.startswith(mine) for a in self.answers)


def read_results(
    chunk: Chunk,
    copied: frozenset[str],
    wire: BatchWire,
    spool: Spool,
    price: Price | None,
    next_of: Callable[[Chunk, LineKind, int], NextOfLine],
) -> Reading:
    """Read all that the result files of a chunk say.

    Args:
        chunk: Whose results are on the disk.
        copied: Ids of lines whose items were called for online meanwhile.
        wire: Reads lines.
        spool: Has the files.
        price: Of a call online; ``None`` if it is not known.
        next_of: Returns what is to become of a line, by its chunk, kind and status.
    """
    reading = Reading(Bill(price, wire.stacks), Bill(price, wire.stacks))
    for part in range(len(chunk.outputs)):
        for start, line in lines_in(spool.result(chunk.number, part)):
            outcome = wire.read_line(line)
            if chunk.echo and _lacks_its_mark(outcome, line, chunk):
                reading.unmarked += 1
                outcome = evolve(outcome, kind=LineKind.UNKNOWN)
            reading.kinds[outcome.kind] = reading.kinds.get(outcome.kind, 0) + 1
            reading.bill.add(outcome)
            if outcome.custom_id in copied:
                reading.twice.add(outcome)
            if outcome.kind is LineKind.ACCOUNT and not reading.account:
                reading.account = outcome.text
            if outcome.custom_id is None:
                reading.nameless += 1
                continue
            state = STATES[next_of(chunk, outcome.kind, outcome.status)]
            answer = Answer(state, outcome.custom_id)
            if state is LineState.ANSWERED:
                answer = answer._replace(part=part, start=start, size=len(line))
            reading.answers.append(answer)
    return reading


def _lacks_its_mark(outcome: LineOutcome, line: bytes, chunk: Chunk) -> bool:
    """Return whether an answer may be that to another request of its batch."""
    name = outcome.custom_id
    if outcome.kind is not LineKind.OK or name is None:
        return False
    return name.startswith(custom_id_prefix(chunk.run)) and not has_mark(line, name)


def lines_in(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a result file that are not blank, with the bytes before each."""
    start = 0
    with path.open("rb") as stream:
        for line in stream:
            size = len(line)
            text = line.strip(b"\r\n\t \xef\xbb\xbf")
            if text:
                yield start + line.index(text), text
            start += size
