"""The tasks of a batch's items: one per item, from its start to the delivery of its result.

Items are started by the feed only, in the task group of the batch. What becomes of an item when
the batch ends early is the table in ``docs/design/endings.md``.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import anyio
from anyio.abc import TaskGroup
from attrs import define, evolve, field

from batchllm.core import (
    Category,
    EndCause,
    InvalidItemError,
    LLMWorkItem,
    Termination,
    WorkItemResult,
    work_on,
)
from batchllm.engine.attempts import failed_result
from batchllm.engine.committing import Committing
from batchllm.engine.delivery import Delivery
from batchllm.engine.ending import CANCEL, DRAIN, Phase
from batchllm.engine.fail_fast import FailureWatch
from batchllm.engine.intake import Source
from batchllm.engine.item import ItemRun
from batchllm.engine.progress import Progress
from batchllm.engine.recorder import COMMIT_SECONDS
from batchllm.engine.resume import Incoming
from batchllm.engine.run import Run
from batchllm.journal import Taken

__all__ = ["Scheduler"]

Result = WorkItemResult[Any, Any]


@define(eq=False, kw_only=True)
class Scheduler:
    """Runs the items of one batch, each in a task of its own.

    Args:
        run: The parts that the batch has.
        source: Where items come from; knows how many there are.
        delivery: Where results go.
        results: Keeps them; ``None`` keeps none.
        progress: Reports each.
        tasks: The group of the items' tasks.

    Attributes:
        accepted: Items so far.
        starting: Items whose tasks have not run yet.
        committing: Results that wait for the journal's disk.
    """

    run: Run
    source: Source
    delivery: Delivery
    results: list[Result] | None
    progress: Progress
    tasks: TaskGroup
    accepted: int = field(default=0, init=False)
    starting: int = field(default=0, init=False)
    committing: Committing = field(factory=Committing, init=False)
    _plain: bool = field(init=False)
    _watch: FailureWatch | None = field(init=False)
    _delivering: anyio.CancelScope = field(
        factory=lambda: anyio.CancelScope(shield=True), init=False
    )

    def __attrs_post_init__(self) -> None:
        rule = self.run.config.fail_fast
        self._watch = None if rule is None else FailureWatch(rule)
        self._plain = self.run.pipeline.plain and not self.progress.waits

    @property
    def total(self) -> int:
        """Items of the source if that is known, else items accepted so far."""
        size = self.source.size
        return self.accepted if size is None else max(size, self.accepted)

    def start(self, one: Incoming, now: float) -> None:
        """Start the task of one item, which holds room in the window from here on."""
        work, index = one.work, one.position
        # The largest, since items of a batch at a provider come in the order of their answers.
        if index >= self.accepted:
            self.accepted = index + 1
        self.run.window.taken += 1
        if isinstance(work, InvalidItemError):
            self._start_invalid(one, work, now)
            return
        item = self.run.start_item(work, index, now, one.entry)
        item.went_in = one.went_in
        if one.early is not None:
            self._start_task(item, self._finish(item, one.early))
        elif one.taken is not None:
            self._take_over(item, one.taken)
        else:
            self.starting += 1
            self._start_task(item, self._run_item(item))

    def _start_invalid(self, one: Incoming, error: InvalidItemError, now: float) -> None:
        """Give something that is no valid item its result."""
        index = one.position
        # An id of its own, so that no result is taken for that of another item.
        placeholder: LLMWorkItem[Any, Any, Any] = LLMWorkItem(f"invalid item {index}")
        placeholder.context = one.context
        item = self.run.start_item(placeholder, index, now)
        result = failed_result(item, error, Category.INVALID_ITEM)
        self._start_task(item, self._finish(item, result))

    def _start_task(self, item: ItemRun, process: Coroutine[Any, Any, None]) -> None:
        name = item.work.item_id
        context = self.source.context_of(name)
        if self.run.watchers.active:
            process = self._watched(item, process)
        # Not start_soon(…), which looks at the function as well before it does the same: 2 µs.
        self.tasks.create_task(process, name=name, context=context)

    async def _watched(self, item: ItemRun, process: Coroutine[Any, Any, None]) -> None:
        with self.run.watchers.item(item):
            await process

    def _take_over(self, item: ItemRun, taken: Taken) -> None:
        """Deliver what an earlier run finished, after its post-processor if that is still due."""
        assert taken.result is not None
        work = item.work
        result = evolve(taken.result, item_id=work.item_id, context=work.context)
        if taken.pending and self.run.pipeline.post_processor is not None:
            self.tasks.start_soon(self._finish_pending, item, result, name=item.work.item_id)
        else:
            self._pass_on(item, result)

    async def _finish_pending(self, item: ItemRun, result: Result) -> None:
        saved = False
        try:
            result, done = await self.run.pipeline.complete(item, result, self.run.shelter)
            saved = not done or await self.run.recorder.processed(item, result)
        finally:
            self._pass_on(item, result, saved=saved)

    def _pass_on(self, item: ItemRun, result: Result, *, saved: bool = True) -> None:
        if saved and self.run.recorder.replays:
            self._deliver(result)
            return
        if saved:
            self.run.tally.before += 1
        self._withhold(item)

    def _withhold(self, item: ItemRun) -> None:
        """Let an item go without a result."""
        self.run.window.release()
        self.delivery.pass_over(item.index)

    async def _run_item(self, item: ItemRun) -> None:
        run = self.run
        ending = run.ending
        self.starting -= 1
        work_on(item)
        try:
            if ending.stopping:
                result = run.result_of_stopped(item)
            else:
                result = await run.pipeline.process(item)
        except anyio.get_cancelled_exc_class():
            if ending.cancelled_by_us:
                item.cut_short()
                await self._finish(item, run.result_of_stopped(item))
            raise
        if not result.success and result.not_run and ending.phase is Phase.OVER:
            return  # the reader has left: what was not run has no result
        if self._plain and item.entry is None:
            self._announce_and_deliver(item, result)
        else:
            await self._finish(item, result)

    async def _finish(self, item: ItemRun, result: Result) -> None:
        run = self.run
        if item.entry is not None:
            if not await self._finish_journaled(item, result):
                return
        else:
            pipeline = run.pipeline
            try:
                result = await pipeline.go_out(item, result, run.shelter)
                result, _ = await pipeline.complete(item, result, run.shelter)
                pipeline.announce(item, result)
            finally:
                self._deliver(result)
        if self.progress.waits:
            run.window.taken += 1  # callbacks that are slow must slow the feed, not pile up
            try:
                await self.progress.call_back(run.tally.total, self.total, result.item_id)
            finally:
                run.window.release()

    async def _finish_journaled(self, item: ItemRun, result: Result) -> bool:
        """Finish an item whose result is written down before anyone sees it.

        Returns:
            Whether it was delivered here; if not, it is by ``deliver_committed``, or the run
            ends, since its journal failed.
        """
        pipeline, recorder = self.run.pipeline, self.run.recorder
        due, saved = pipeline.post_processor is not None, False
        if not due and not self.progress.waits:
            await self._hand_over(item, result)
            return False
        try:
            try:
                result = await pipeline.go_out(item, result, self.run.shelter)
            finally:  # paid for, also if the hooks have no time limit and so no shield
                saved = await recorder.commit(item, result, pending=due)
            if saved and due:
                saved = False
                result, done = await pipeline.complete(item, result, self.run.shelter)
                # One that was cut off is still due: it is called when the run goes on.
                saved = not done or await recorder.processed(item, result)
            if saved:
                pipeline.announce(item, result)
        finally:
            if saved:
                self._deliver(result)
            else:
                self._withhold(item)
        return saved

    async def _hand_over(self, item: ItemRun, result: Result) -> None:
        """Leave a result that no hook waits for to ``deliver_committed``, once it is written."""
        run = self.run
        try:
            result = await run.pipeline.go_out(item, result, run.shelter)
        finally:  # paid for, also if the hooks have no time limit and so no shield
            item.result = result  # its task ends before the group of its result is written
            if not run.recorder.writes(item, result):
                self._announce_and_deliver(item, result)
            elif (commit := run.recorder.hand_over(item, result)) is not None:
                self.committing.put(commit, item, result)
            else:
                self._withhold(item)

    async def deliver_committed(self) -> None:
        """Deliver what is on the disk, group by group, until no more results can come.

        Shielded, as the writer is: what is written is seen, whatever is being cancelled. Once the
        items' tasks have ended (``close_committing``), it has a deadline.
        """
        with self._delivering:
            while (group := await self.committing.next()) is not None:
                written, finished = group
                for one in finished:
                    if written:
                        self._announce_and_deliver(one.item, one.result)
                    else:
                        self._withhold(one.item)
                if not written:
                    self.run.recorder.lose(one.result for one in finished)
        rest = self.committing.take_rest()
        for one in rest:
            self._withhold(one.item)
        if rest:
            self.run.recorder.lose(one.result for one in rest)

    def close_committing(self) -> None:
        """Take note that the items' tasks have ended: what waits for the disk has a deadline."""
        self._delivering.deadline = anyio.current_time() + COMMIT_SECONDS
        self.committing.close()

    def _announce_and_deliver(self, item: ItemRun, result: Result) -> None:
        try:
            self.run.pipeline.announce(item, result)
        finally:
            self._deliver(result)

    def _deliver(self, result: Result) -> None:
        run = self.run
        tally = run.tally
        tally.add(result)
        if self.results is not None:
            self.results.append(result)
        if not self.delivery.holds_room:
            run.window.release()
        self.delivery.put(result)
        if self.progress.is_due(tally.total):
            self.progress.log(tally, self.total)
        if result.replayed:
            return
        if self._watch is None:
            return
        if result.success:
            self._watch.on_success()
        else:
            self._watch_failures(result, self._watch)

    def _watch_failures(self, result: Result, watch: FailureWatch) -> None:
        tally = self.run.tally
        reason = watch.on_failure(result, answered=tally.succeeded > 0, resumed=tally.before > 0)
        if reason is not None:
            how = CANCEL if watch.rule.then == "cancel" else DRAIN
            self.run.stop(how, Termination(EndCause.FAIL_FAST, reason, result.item_id))
