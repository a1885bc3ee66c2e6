"""The beginning of a run: what earlier processes have left in the ledger, and if it may go on."""

from __future__ import annotations

from functools import partial
from typing import Final

import anyio

from batchllm.core import EndCause, JournalError, ProviderError, TransportError, counted
from batchllm.journal import JournalWriter
from batchllm.provider_batch.parts import Parts
from batchllm.provider_batch.polling import within
from batchllm.provider_batch.states import Chunk, State
from batchllm.provider_batch.watching import wrong_account

__all__ = ["begin"]

_RETRY: Final = 30.0
"""Seconds until the account is asked for again, if the provider could not answer."""


async def begin(parts: Parts) -> bool:
    """Read the ledger; return whether this run may go on with what is in it."""
    board, journal = parts.board, parts.given.journal
    for chunk in await parts.ledger.open():
        board.take_in(chunk)
        parts.filling.tests_first = False  # the first batch of all was the test
    await parts.money.begin()
    await parts.memory.begin()
    await journal.worker.call(partial(parts.spool.sweep, frozenset(board.chunks)))
    unsettled = [chunk for chunk in board if not chunk.over]
    mine = journal.registrar.identity.digest
    foreign = [one for one in unsettled if one.strategy != mine]
    if foreign:
        raise JournalError(_other_strategy(foreign, journal), problem="changed")
    if not await _is_my_account(parts, unsettled):
        return False
    for chunk in board.in_flight:
        parts.memory.recall(chunk, anyio.current_time())
    for chunk in board.in_state(State.CREATING):
        # The process that was about to create it died, maybe after it did.
        await board.move(chunk, State.QUARANTINE, "the process ended during the create")
    if parts.given.settings.on_lost == "resubmit":
        await parts.settler.give_up_lost()
    for chunk in board.in_state(State.SETTLED, State.DROPPED):
        parts.publisher.know(chunk)
    return True


async def _is_my_account(parts: Parts, chunks: list[Chunk]) -> bool:
    """Return whether what is at the provider belongs to the account of this key."""
    known = [one for one in chunks if one.account]
    while known:
        try:
            await parts.wire.identify()
            parts.outage.good()
            break
        except (ProviderError, TransportError) as error:
            parts.outage.failed(error)
        if parts.board.termination is not None:
            return False
        await anyio.sleep(max(_RETRY, within(parts.wire.hint)))
    strange = [one for one in known if one.account != parts.wire.account]
    if strange:
        parts.board.end(EndCause.ACCOUNT_PROBLEM, wrong_account(strange))
    return not strange


def _other_strategy(chunks: list[Chunk], journal: JournalWriter) -> str:
    requests = counted(sum(chunk.lines for chunk in chunks), "request")
    batches = counted(len(chunks), "batch", "batches")
    return (
        f"the journal {journal.settings.path} has {requests} of another strategy in "
        f"{batches} (model {chunks[0].model}): go on with that one, cancel them by "
        "`batchllm jobs RUN cancel`, or give another path"
    )
