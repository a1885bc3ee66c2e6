"""The way of one item: middleware in, attempts, middleware out, post-processor, events.

A result that is finished is shielded from there on: what was paid for is not lost because the
batch is cancelled while it is being delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import define, field

from batchllm.core import (
    SKIP,
    BaseMiddleware,
    Category,
    InvalidItemError,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessingEvent,
    ProcessorConfig,
    Reply,
    WorkItemResult,
    check_texts,
)
from batchllm.engine.attempts import Attempts, answer, failed_result
from batchllm.engine.events import Events
from batchllm.engine.guard import Failed, Ok, TimedOut
from batchllm.engine.hook_bounds import HookBound
from batchllm.engine.hooks import call_hook, read_after_process
from batchllm.engine.item import ItemRun
from batchllm.engine.post_processing import PostProcessing
from batchllm.engine.shelter import Shelter
from batchllm.engine.slow_hooks import SlowHooks
from batchllm.engine.waiting import Waits
from batchllm.engine.way_out import WayOut, failed_in

__all__ = ["Pipeline"]

Result = WorkItemResult[Any, Any]


@define(eq=False)
class Pipeline:
    """Takes items from acceptance to their finished results.

    Args:
        config: The run's settings.
        attempts: Makes the calls.
        strategy: For items that bring none.
        middlewares: In the order of going in.
        post_processor: Called with every result: a function, or a ``PostProcessor``.
        events: On their way to observers.
        slow: Reports hooks that hold the event loop.
        waits: Has the clock, and wakes the feed.

    Attributes:
        plain: Whether a result is complete as soon as its attempts are: no hooks to call.
    """

    config: ProcessorConfig
    attempts: Attempts
    strategy: LLMCallStrategy[Any] | None
    middlewares: Sequence[BaseMiddleware]
    post_processor: Callable[[Result], Any] | None
    events: Events
    slow: SlowHooks
    _waits: Waits
    plain: bool = field(init=False)
    _takes_item: dict[int, bool] = field(factory=dict, init=False)
    _known: object = field(factory=object, init=False)
    _post_processing: PostProcessing | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._post_processing = PostProcessing.of(self.post_processor, self.slow)
        self.plain = not self.middlewares and self.post_processor is None
        for middleware in self.middlewares:
            self._takes_item[id(middleware)] = read_after_process(middleware)

    def warnings(self) -> Iterable[str]:
        """Give the sentences about its hooks that are for the run as a whole."""
        return () if self._post_processing is None else self._post_processing.warnings()

    async def process(self, item: ItemRun) -> Result:
        """Middleware in, then the attempts."""
        if self.middlewares and not item.went_in:
            early = await self.go_in(item)
            if early is not None:
                return early
        strategy = item.work.strategy or self.strategy
        # What the first item had is what nearly every item has; an ABC takes a microsecond to look.
        is_known = strategy is self._known or isinstance(strategy, LLMCallStrategy)
        if strategy is None or not is_known:
            return self._no_strategy(item, strategy)
        self._known = strategy
        if self.events.active:
            self.events.emit(ProcessingEvent.ITEM_STARTED, {"item_id": item.work.item_id})
        if self.config.dry_run:
            return await self._dry_run(item, strategy)
        return await self.attempts.run(item, strategy)

    async def go_out(self, item: ItemRun, result: Result, shelter: Shelter) -> Result:
        """Take *result* past middleware, in *shelter*."""
        if not self.middlewares:
            return result
        out = WayOut(item, result, self.config, self._waits.clock, self.slow)
        with shelter.open():
            await out.run(self.middlewares, self._takes_item, None)
        return out.finish(shelter.grace)

    async def complete(
        self, item: ItemRun, result: Result, shelter: Shelter
    ) -> tuple[Result, bool]:
        """Take *result* past the post-processor, in *shelter*.

        Returns:
            The result, and whether the post-processor came to its end.
        """
        if self._post_processing is None:
            return result, True
        out = WayOut(item, result, self.config, self._waits.clock, self.slow)
        with shelter.open():
            await out.run((), self._takes_item, self._post_processing)
        return out.finish(shelter.grace), not out.was_cut_off

    def _no_strategy(self, item: ItemRun, found: object) -> Result:
        what = "no strategy" if found is None else f"a {type(found).__name__} as strategy"
        error = InvalidItemError(
            f"item {item.work.item_id!r} has {what}; give the batch a strategy, or the item an "
            "LLMCallStrategy of its own"
        )
        return failed_result(item, error, Category.INVALID_ITEM)

    async def _dry_run(self, item: ItemRun, strategy: LLMCallStrategy[Any]) -> Result:
        self._waits.wake_feed()  # it makes no call that would take another's room

        async def run() -> Reply:
            return Reply.read(await strategy.dry_run(item.work.prompt))

        bound = self._bound(item)
        ended = await call_hook(run, seconds=bound.seconds)
        if isinstance(ended, Ok):
            item.book(ended.value.usage, None)
            return answer(item, ended.value)
        return failed_in(item, "dry_run()", ended, bound, Category.PROGRAM_ERROR)

    async def go_in(self, item: ItemRun) -> Result | None:
        """Take an item past middleware on its way in; return its result if it has one then."""
        for middleware in self.middlewares:
            hook = f"{type(middleware).__name__}.before_process"
            bound = self._bound(item)
            ended = await call_hook(
                middleware.before_process,
                item.work,
                seconds=bound.seconds,
                name=hook,
                slow=self.slow,
            )
            if isinstance(ended, TimedOut) and bound.by_item:
                return failed_in(item, hook, ended, bound, Category.TIMEOUT)
            if not isinstance(ended, Ok):
                return failed_in(item, hook, ended, bound, Category.MIDDLEWARE)
            if ended.value is SKIP:
                reason = f"left out by {type(middleware).__name__}"
                return failed_result(item, None, Category.SKIPPED, reason)
            if ended.value is not None:
                wrong = _replace(item, ended.value)
                if wrong is not None:
                    return failed_in(item, hook, Failed(wrong), bound, Category.MIDDLEWARE)
        return None

    def _bound(self, item: ItemRun) -> HookBound:
        return HookBound.of(self.config, item, self._waits.clock())

    def announce(self, item: ItemRun, result: Result) -> None:
        """Report the finished result of *item* to observers."""
        item.result = result
        if not self.events.active:
            return
        data: dict[str, Any] = {
            "item_id": result.item_id,
            "duration": result.timing.total,
            "tokens": dict(result.token_usage),
            "attempts": result.attempts,
        }
        if result.success:
            event = ProcessingEvent.ITEM_COMPLETED
        elif result.skipped:
            event = ProcessingEvent.ITEM_SKIPPED
        else:
            event = ProcessingEvent.ITEM_FAILED
            data["error"] = result.error
            data["error_category"] = result.error_category
        self.events.emit(event, data)


def _replace(item: ItemRun, value: object) -> InvalidItemError | None:
    """Go on with *value* in place of the item, unless it is no such item."""
    name = item.work.item_id
    if not isinstance(value, LLMWorkItem):
        return InvalidItemError(
            f"item {name!r}: before_process returned a {type(value).__name__}; return the item, "
            "None or SKIP"
        )
    if value.item_id != name:
        return InvalidItemError(
            f"item {name!r}: before_process returned an item with the id {value.item_id!r}; "
            "results are matched by id, so keep it"
        )
    try:
        check_texts(value.prompt, f"item {name!r}: the prompt that before_process gave it")
    except InvalidItemError as error:
        return error
    item.work = value
    return None
