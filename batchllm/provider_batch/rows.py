"""The rows of the ledger: lines, their answers, and chunks with their fields as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Final, NamedTuple

import attrs
from attrs import frozen

from batchllm.journal import ItemKey
from batchllm.provider_batch.states import Chunk, Cut, EndKind, Reason, State

__all__ = [
    "UNSETTLED",
    "Answer",
    "LineRow",
    "LineState",
    "Settled",
    "Settling",
    "chunk_of",
    "fields_of",
]

_COLUMNS: Final = frozenset({"number", "state"})
"""Fields of a chunk that are columns of their own."""


class LineState(IntEnum):
    """The state of a line; its numbers never change."""

    WAITING = 0
    """It is to be put into a chunk."""
    SENT = 1
    """Its chunk is not settled."""
    ANSWERED = 2
    ONLINE = 3
    """It is to be called for online."""
    COPIED = 4
    """Its chunk is not settled, and its item was called for online meanwhile."""


UNSETTLED: Final = (LineState.SENT, LineState.COPIED)
"""States of lines whose chunk may still bring them an answer."""


class LineRow(NamedTuple):
    """A line as the ledger knows it; its fields are columns.

    ``part``, ``start`` and ``size`` say where its answer stands in the chunk's result files;
    ``answer`` is one that stands in none, as JSON.
    """

    line: int
    custom_id: str
    source: str
    key: str
    digest: bytes | None
    strategy: bytes
    chunk: int | None = None
    line_no: int | None = None
    round: int = 1
    state: int = LineState.WAITING
    part: int | None = None
    start: int | None = None
    size: int | None = None
    answer: str | None = None

    @property
    def item(self) -> ItemKey:
        """Return the key of its item."""
        return self.source, self.key


class Answer(NamedTuple):
    """The outcome of one line, as a settling writes it.

    Attributes:
        state: That it has from here on.
        custom_id: Its own.
        part: Of the chunk's result files.
        start: Bytes before it in that file.
        size: Its bytes.
        answer: An answer that stands in no file, as JSON.
    """

    state: LineState
    custom_id: str
    part: int | None = None
    start: int | None = None
    size: int | None = None
    answer: str | None = None


@frozen
class Settling:
    """The end of a chunk's lines, as it is written in one transaction.

    Attributes:
        chunk: The chunk as it is from here on.
        answers: What is known of lines, the last of several for one line counts for nothing.
        rest: The state of each line that no answer is about.
        counts: Whether lines that wait for another chunk have been in one of this round.
    """

    chunk: Chunk
    answers: Iterable[Answer]
    rest: LineState | Answer
    counts: bool = True


class Settled(NamedTuple):
    """The lines of a chunk that was settled.

    Attributes:
        states: How many are in which state; their sum is the chunk's lines.
        strange: Answers that were of no line of the chunk, or of one that had its answer.
    """

    states: dict[int, int]
    strange: int


def fields_of(chunk: Chunk) -> str:
    """Return the fields of a chunk that have no column, as JSON."""
    fields = attrs.asdict(chunk, recurse=False, filter=lambda one, _: one.name not in _COLUMNS)
    return json.dumps({**fields, "strategy": chunk.strategy.hex()})


def chunk_of(number: int, state: str, text: str) -> Chunk:
    """Return the chunk of a row: its number, its state, and its other fields as JSON."""
    fields: dict[str, Any] = json.loads(text)
    fields["strategy"] = bytes.fromhex(fields["strategy"])
    fields["end"] = None if fields["end"] is None else EndKind(fields["end"])
    fields["cut"] = None if fields["cut"] is None else Cut(fields["cut"])
    fields["reason"] = None if fields["reason"] is None else Reason(fields["reason"])
    return Chunk(number=number, state=State(state), **fields)
