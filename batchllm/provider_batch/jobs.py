"""Work on the batches of a journal beside a run: look, cancel, adopt, clean up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from attrs import evolve, frozen

from batchllm.core import ConfigError, ProviderError
from batchllm.journal import JournalWriter
from batchllm.provider_batch.ledger import BatchLedger, read_chunks, read_events
from batchllm.provider_batch.lookup import Lookup
from batchllm.provider_batch.no_jobs import open_to_read
from batchllm.provider_batch.refinding import Strength
from batchllm.provider_batch.rows import LineState, Settling
from batchllm.provider_batch.states import CREATED, NOT_CREATED, Chunk, Reason, State, advance
from batchllm.provider_batch.wires import BatchWire, RemoteBatch

__all__ = ["Event", "JobsOfRun", "events_of", "jobs_of"]


@frozen
class Event:
    """One change of a chunk.

    Attributes:
        at: Seconds since 1970.
        before: Its state before; ``None`` at its beginning.
        after: Its state from then on.
        detail: What was behind it.
    """

    at: float
    before: str | None
    after: str
    detail: str


def jobs_of(journal: Path) -> list[Chunk]:
    """Return the chunks of a journal, the oldest first; also while a run writes it."""
    with closing(open_to_read(journal)) as db:
        return read_chunks(db)


def events_of(journal: Path, number: int) -> list[Event]:
    """Return what happened to one chunk, the first first."""
    with closing(open_to_read(journal)) as db:
        return [Event(*row) for row in read_events(db, number)]


@frozen
class JobsOfRun:
    """The batches of a journal that this process drives, and no run does.

    Args:
        journal: Open.
        connect: Returns the provider of a chunk.
    """

    journal: JournalWriter
    connect: Callable[[Chunk], BatchWire]

    async def cancel(self, numbers: Sequence[int]) -> list[str]:
        """Cancel chunks, or let those go that are not at the provider; all without *numbers*.

        Their requests are sent again by the next run, unless they were done already.

        Returns:
            A sentence about each.

        Raises:
            ConfigError: There is no such chunk.
            ProviderError: The provider refuses.
        """
        ledger, chunks = await self._chunks()
        said = []
        for chunk in _chosen(chunks, numbers):
            if chunk.state in NOT_CREATED or chunk.state is State.LOST:
                after = advance(chunk, State.DROPPED, note="let go by its user")
                settling = Settling(after, (), LineState.WAITING, counts=False)
                await ledger.settle(chunk, settling, "let go by its user")
                said.append(f"{chunk.number}: its {chunk.lines:,} requests wait for another batch")
            elif chunk.state in CREATED and chunk.batch_id is not None:
                said.append(await self._cancel(ledger, chunk))
            elif chunk.state in (State.CREATING, State.QUARANTINE):
                said.append(await self._find_and_cancel(ledger, chunk, chunks))
            elif numbers:
                said.append(f"{chunk.number}: it is {chunk.state}, and there is nothing to cancel")
        return said

    async def _cancel(self, ledger: BatchLedger, chunk: Chunk) -> str:
        assert chunk.batch_id is not None
        wire = self.connect(chunk)
        if chunk.state is State.RUNNING:
            wanted = advance(chunk, State.CANCEL_WANTED, reason=Reason.USER)
            chunk = await _saved(ledger, chunk, wanted, "by its user")
        try:
            await wire.cancel(chunk.batch_id or "")
        except ProviderError as error:
            if error.status not in (400, 409):
                raise
            return f"{chunk.number}: {chunk.batch_id} has ended already; a run fetches its results"
        if chunk.state is not State.CANCELLING:
            await ledger.save(chunk, advance(chunk, State.CANCELLING), "by its user")
        return (
            f"{chunk.number}: {chunk.batch_id} is being cancelled; a run fetches what it has done"
        )

    async def _find_and_cancel(
        self, ledger: BatchLedger, chunk: Chunk, others: Sequence[Chunk]
    ) -> str:
        """Look for the batch of a create that had no answer, and cancel it if it is surely ours."""
        wire = self.connect(chunk)
        found = await Lookup(wire).find(chunk, others)
        proved = [one for one in found if wire.strength is Strength.EXACT or one.outputs]
        if not proved:
            ids = " or ".join(one.id for one in found[:5])
            seen = f"it may be {ids}" if found else "none is listed now"
            return (
                f"{chunk.number}: it is not known if it was created, and {seen}; a run finds out, "
                f"and `jobs RUN adopt {chunk.number} ID` binds it to a batch that you have found"
            )
        for second in proved[:-1]:
            await wire.cancel(second.id)
        if chunk.state is State.CREATING:
            chunk = await _saved(ledger, chunk, advance(chunk, State.QUARANTINE))
        bound = _bound(chunk, proved[-1])
        chunk = await _saved(ledger, chunk, bound, f"found by its user: {bound.batch_id}")
        return await self._cancel(ledger, chunk)

    async def adopt(self, number: int, batch_id: str) -> str:
        """Bind a chunk whose create had no answer to a batch that the user has found.

        Raises:
            ConfigError: There is no such chunk, or it needs none.
            ProviderError: There is no such batch.
        """
        ledger, chunks = await self._chunks()
        (chunk,) = _chosen(chunks, [number])
        if chunk.state is State.CREATING:
            chunk = await _saved(ledger, chunk, advance(chunk, State.QUARANTINE))
        if chunk.state is not State.QUARANTINE:
            msg = f"chunk {number} is {chunk.state}; only one whose create had no answer is bound"
            raise ConfigError(msg)
        if any(one.batch_id == batch_id for one in chunks):
            msg = f"{batch_id} is the batch of another chunk"
            raise ConfigError(msg)
        remote = await self.connect(chunk).fetch(batch_id)
        await ledger.save(chunk, _bound(chunk, remote), f"adopted by its user: {batch_id}")
        return f"{number}: it is {batch_id} from here on; a run goes on with it"

    async def adopt_account(self) -> str:
        """Take the account of the present key for that of all batches, since its key was changed.

        Raises:
            ProviderError: The provider refuses the key.
        """
        ledger, chunks = await self._chunks()
        known = [one for one in chunks if one.account and not one.over]
        for chunk in known:
            wire = self.connect(chunk)
            await wire.identify()
            after = evolve(chunk, account=wire.account)
            await ledger.save(chunk, after, f"account {chunk.account} became {wire.account}")
        return f"{len(known)} batches belong to the present key's account from here on"

    async def collect_garbage(self) -> list[str]:
        """Delete the provider's files of chunks that are over.

        Returns:
            A sentence about each.
        """
        ledger, chunks = await self._chunks(over=True)
        said = []
        for chunk in chunks:
            files = [one for one in (chunk.file_id, *chunk.outputs) if one]
            if chunk.state not in (State.CLEANED, State.DROPPED) or not files:
                continue
            wire = self.connect(chunk)
            for file_id in files:
                await wire.delete_file(file_id)
            await ledger.save(chunk, evolve(chunk, file_id=None, outputs=()), "files deleted")
            said.append(f"{chunk.number}: {len(files)} files were deleted")
        return said

    async def _chunks(self, *, over: bool = False) -> tuple[BatchLedger, list[Chunk]]:
        ledger = BatchLedger(self.journal)
        chunks = await ledger.open()
        if over:
            read = partial(self.journal.store.with_output, read_chunks)
            chunks = await self.journal.worker.call(read)
        return ledger, chunks


async def _saved(ledger: BatchLedger, before: Chunk, after: Chunk, detail: str = "") -> Chunk:
    await ledger.save(before, after, detail)
    return after


def _bound(chunk: Chunk, remote: RemoteBatch) -> Chunk:
    """Return a chunk with the batch that is its own."""
    return advance(
        chunk,
        State.RUNNING,
        batch_id=remote.id,
        status=remote.status,
        submitted=remote.created,
        expires=remote.expires,
        note="",
    )


def _chosen(chunks: Sequence[Chunk], numbers: Sequence[int]) -> list[Chunk]:
    known = {chunk.number: chunk for chunk in chunks}
    for number in numbers:
        if number not in known:
            there = ", ".join(map(str, known)) or "none"
            msg = f"there is no chunk {number} that is under way; there are: {there}"
            raise ConfigError(msg)
    return [known[number] for number in numbers] if numbers else list(chunks)
