"""A worker: the ordinary engine in an actor, fed with blocks from outside.

The engine runs in one method of the actor, ``run``, from its first block to the last: a task of
its own, in which everything that it opens is closed. The other methods only pass blocks to it, and
wait. Nothing here knows Ray, but for the store that leases come from.
"""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Final, cast

import anyio
from attrs import define, field, frozen

import batchllm
from batchllm.api import BatchRun, stream_batch
from batchllm.core import (
    EndCause,
    JournalError,
    Tally,
    WorkItemResult,
    raise_without_group,
)
from batchllm.engine import CANCEL
from batchllm.journal import create_private
from batchllm.ray.block import Block, is_final, stored
from batchllm.ray.folder import read_folder
from batchllm.ray.grouping import Grouping
from batchllm.ray.job import Job
from batchllm.ray.reader import BlockPlan
from batchllm.ray.segments import Header, Stored, write_header, write_stored
from batchllm.shared import LeaseStore, SharedGate
from batchllm.transport import ThreadLimits, run_in_thread

__all__ = ["Ended", "Worker"]

_LAST_GROUP: Final = 30.0
"""Seconds for a group to be on the disk, whatever ends the worker."""


@frozen
class Ended:
    """The end of a worker's run.

    Attributes:
        complete: Whether it has worked on all that it was given.
        reason: Why it ended.
        leases: Leases that it asked for.
        calls: Calls that started by them.
    """

    complete: bool
    reason: str
    leases: int
    calls: int


@define(eq=False, repr=False)
class Worker:
    """Works on blocks. Its methods are called by Ray, side by side on one event loop.

    Args:
        job: The settings of the run.
        store: Gives leases.
    """

    job: Job
    store: LeaseStore
    _unread: deque[Block] = field(factory=deque, init=False)
    """Bounded by the driver, which gives no block to a worker that has two unread ones."""
    _came: anyio.Event = field(factory=anyio.Event, init=False)
    _closed: bool = field(default=False, init=False)
    _blocks: dict[tuple[int, int], Block] = field(factory=dict, init=False)
    _groups: Grouping[Block, tuple[int, WorkItemResult[Any, Any], Stored]] = field(
        factory=Grouping, init=False
    )
    _more: anyio.Event = field(factory=anyio.Event, init=False)
    _no_more: bool = field(default=False, init=False)
    _batch: BatchRun[Any] | None = field(default=None, init=False)
    _over: anyio.Event = field(factory=anyio.Event, init=False)
    _disk: ThreadLimits = field(factory=lambda: ThreadLimits(1), init=False)

    # -- called by the driver ----------------------------------------------------------------

    async def ready(self) -> str:
        """Return what keeps this machine from working on the run; empty if nothing does."""
        if batchllm.__version__ != self.job.version:
            return (
                f"a worker has batchllm {batchllm.__version__}, and the driver "
                f"{self.job.version}; install the same on all nodes"
            )
        try:
            folder = await self._on_disk(lambda: read_folder(self.job.folder.path, make=False))
        except JournalError as error:
            return f"on {platform.node()}: {error}"
        if folder != self.job.folder:
            return f"the folder {folder.path} of a worker is another one than that of the driver"
        return ""

    async def run(self) -> Ended:
        """Run the engine until all blocks are worked on, or it is stopped.

        Raises:
            BatchError: The engine cannot run, or cannot go on.
        """
        gate = SharedGate(self.store, limits=self.job.limits)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._write_groups, name="batchllm segments")
                try:
                    await self._run_engine(gate)
                finally:
                    self._no_more = True
                    self._more.set()
        except BaseExceptionGroup as errors:
            raise_without_group(errors)
        finally:
            self._over.set()
            for block in self._blocks.values():
                block.read.set()
                block.ended.set()
        assert self._batch is not None
        end, counts = self._batch.result.termination, gate.leases()
        return Ended(end.complete, end.reason, counts.leases, counts.used)

    async def take(self, number: int, attempt: int, plan: BlockPlan, table: Any) -> bool:
        """Work on a block; return once all of its rows are read, so that another may come.

        Args:
            number: Of the block.
            attempt: From 1.
            plan: What is known of its rows.
            table: Its rows.

        Returns:
            Whether that is so; not if the run has ended.
        """
        job = self.job
        block = Block(number, attempt, table, plan, job.id_column, job.prompt_column)
        self._blocks[number, attempt] = block
        earlier = [job.folder.segment(job.run, number, n) for n in range(1, attempt)]
        await self._on_disk(lambda: block.prepare(earlier))
        if block.complete:
            block.read.set()
            await self._end(block)
            return True
        if not self._over.is_set():
            self._unread.append(block)
            self._came.set()
            await block.read.wait()
        return not self._over.is_set()

    async def finish(self, number: int, attempt: int) -> Tally | None:
        """Wait until the rows of a block are written, once ``take`` has returned.

        Returns:
            Sums over its results; ``None`` if the run ended before.
        """
        block = self._blocks[number, attempt]
        if not self._over.is_set():
            await block.ended.wait()
        del self._blocks[number, attempt]
        return block.tally

    async def close(self) -> None:
        """Take no more blocks; ``run`` ends once those that are there are finished."""
        self._closed = True
        self._came.set()

    async def stop(self, reason: str) -> None:
        """End at once; return when what is answered is on the disk."""
        await self.close()
        if self._batch is not None:
            self._batch.stop(CANCEL, reason, cause=EndCause.INTERRUPTED)
            await self._over.wait()

    # -- the engine --------------------------------------------------------------------------

    async def _run_engine(self, gate: SharedGate) -> None:
        job = self.job
        async with stream_batch(self._items(), job.strategy, gate=gate, **job.options) as batch:
            self._batch = batch
            async for result in batch:
                block, index = cast("tuple[Block, int]", result.context)
                await self._take_result(block, index, result)

    async def _items(self) -> AsyncGenerator[Any]:
        while self._unread or not self._closed:
            if not self._unread:
                self._came = anyio.Event()
                await self._came.wait()
                continue
            block = self._unread.popleft()
            for item in block.items():
                yield item
            block.read.set()

    async def _take_result(
        self, block: Block, index: int, result: WorkItemResult[Any, Any]
    ) -> None:
        if not is_final(result):
            return
        line = stored(result, block.key_of(index))
        if line is None:
            block.set(index, result)
            if block.complete:
                await self._end(block)
            return
        self._groups.add(anyio.current_time(), block, (index, result, line))
        self._more.set()

    # -- what is answered, on the disk -------------------------------------------------------

    async def _write_groups(self) -> None:
        """Write each group in time, and the last one also if the engine has failed."""
        try:
            while not self._no_more:
                await self._wait_for_group()
                await self._write()
        finally:
            with anyio.move_on_after(_LAST_GROUP, shield=True):
                await self._write()

    async def _wait_for_group(self) -> None:
        while not self._no_more:
            self._more = anyio.Event()
            left = self._groups.due - anyio.current_time()
            if left <= 0:
                return
            with anyio.move_on_after(left):
                await self._more.wait()

    async def _write(self) -> None:
        groups = self._groups.take()
        if not groups:
            return
        written = False
        # A cancellation comes after the group is written, or before it is begun.
        with anyio.move_on_after(_LAST_GROUP, shield=True):
            await self._on_disk(lambda: self._append(groups))
            written = True
        if not written:
            path = str(self.job.folder.path)
            msg = f"the journal {path}: its disk gave no answer for {_LAST_GROUP:g} s"
            raise JournalError(msg, problem="io", path=path)
        for block, results in groups.items():
            for index, result, _ in results:
                block.set(index, result)
            if block.complete:
                await self._end(block)

    def _append(self, groups: dict[Block, list[tuple[int, Any, Stored]]]) -> None:
        job = self.job
        for block, results in groups.items():
            file = job.folder.segment(job.run, block.number, block.attempt)
            lines = [write_stored(line) for _, _, line in results]
            if create_private(file):
                header = Header(job.digest, job.run, block.number, block.attempt)
                lines.insert(0, write_header(header))
            with file.open("ab") as segment:
                segment.write(b"".join(lines))
                segment.flush()
                os.fsync(segment.fileno())

    async def _end(self, block: Block) -> None:
        file = self.job.folder.rows(self.job.run, block.number)
        await self._on_disk(lambda: block.write_rows(file, self.job.shape))
        block.ended.set()

    async def _on_disk(self, work: Any) -> Any:
        try:
            return await run_in_thread(work, limiter=self._disk.of_this_loop())
        except OSError as error:
            path = str(self.job.folder.path)
            msg = f"the journal {path} cannot be used: {error.strerror or error}"
            raise JournalError(msg, problem="io", path=path) from error
