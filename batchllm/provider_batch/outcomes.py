"""The outcome of each line of a chunk, as the transaction that ends the chunk writes it."""

from __future__ import annotations

import sqlite3

from batchllm.core import ProgramError
from batchllm.provider_batch.rows import UNSETTLED, Answer, LineState, Settled, Settling
from batchllm.provider_batch.states import Chunk

__all__ = ["give_outcomes"]


def give_outcomes(db: sqlite3.Connection, chunk: Chunk, settling: Settling) -> Settled:
    """Write what becomes of each line of a chunk.

    Args:
        db: In a transaction, which the caller ends.
        chunk: As it was before.
        settling: What is known of its lines, and what becomes of the rest.

    Raises:
        ProgramError: A line of it would have no outcome.
    """
    number, given = chunk.number, list(settling.answers)
    sent = f"state IN ({int(LineState.SENT)}, {int(LineState.COPIED)})"
    # Only a line that waits for its chunk takes an answer: the first of two that are alike.
    taken = db.executemany(
        "UPDATE pb_line SET state = ?, part = ?, start = ?, size = ?, answer = ? "
        f"WHERE custom_id = ? AND chunk = {number} AND {sent}",
        [(a.state, a.part, a.start, a.size, a.answer, a.custom_id) for a in given],
    )
    # An item that has a copy has no need of another batch: it is called for online if at all.
    copied = f"chunk = {number} AND state = {int(LineState.COPIED)}"
    if settling.rest == LineState.WAITING:
        db.execute(f"UPDATE pb_line SET state = {int(LineState.ONLINE)} WHERE {copied}")
    rest = settling.rest
    state, answer = (rest.state, rest.answer) if isinstance(rest, Answer) else (rest, None)
    db.execute(
        f"UPDATE pb_line SET state = ?, answer = ? WHERE chunk = ? AND {sent}",
        (state, answer, number),
    )
    query = "SELECT state, count(*) FROM pb_line WHERE chunk = ? GROUP BY state"
    states = {row[0]: row[1] for row in db.execute(query, (number,))}
    if sum(states.values()) != chunk.lines or not states.keys().isdisjoint(UNSETTLED):
        msg = f"chunk {number} has {chunk.lines} lines, and outcomes of {states}"
        raise ProgramError(msg)
    db.execute(
        "UPDATE pb_line SET chunk = NULL, line_no = NULL, round = round + ? "
        "WHERE chunk = ? AND state = ?",
        (int(settling.counts), number, LineState.WAITING),
    )
    return Settled(states, len(given) - max(0, taken.rowcount))
