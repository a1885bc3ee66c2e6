"""The way of one item: middleware in, attempts, middleware out, post-processor, events.

A result that is finished is shielded from there on: what was paid for is not lost because the
batch is cancelled while it is being delivered.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
from attrs import define, evolve, field

from batchllm.core import (
    SKIP,
    BaseMiddleware,
    Category,
    FrameworkTimeoutError,
    InvalidItemError,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessingEvent,
    ProcessorConfig,
    Reply,
    WorkItemResult,
    check_texts,
    with_notes,
)
from batchllm.engine.attempts import Attempts, answer, failed_result
from batchllm.engine.events import Events
from batchllm.engine.guard import Failed, Ok, TimedOut
from batchllm.engine.hooks import call_hook, note_hook, read_after_process
from batchllm.engine.item import ItemRun

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
        post_processor: Called with every result, sync or async.
        events: On their way to observers.
    """

    config: ProcessorConfig
    attempts: Attempts
    strategy: LLMCallStrategy[Any] | None
    middlewares: Sequence[BaseMiddleware]
    post_processor: Callable[[Result], Any] | None
    events: Events
    _takes_item: dict[int, bool] = field(factory=dict, init=False)
    _known: object = field(factory=object, init=False)

    def __attrs_post_init__(self) -> None:
        for middleware in self.middlewares:
            self._takes_item[id(middleware)] = read_after_process(middleware)

    @property
    def plain(self) -> bool:
        """Return whether a result is complete as soon as its attempts are: no hooks to call."""
        return not self.middlewares and self.post_processor is None

    async def process(self, item: ItemRun) -> Result:
        """Middleware in, then the attempts."""
        if self.middlewares:
            early = await self._go_in(item)
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

    async def go_out(self, item: ItemRun, result: Result) -> Result:
        """Middleware out, shielded from cancellation."""
        if self.middlewares:
            with self._shield(2 * len(self.middlewares)):
                result = await self._go_out(item, result)
        return result

    async def complete(self, item: ItemRun, result: Result) -> Result:
        """Call the post-processor, shielded from cancellation."""
        if self.post_processor is not None:
            noted = len(item.notes)
            with self._shield(1):
                note_hook(item, "post_processor", await self._hook(self.post_processor, result))
            if len(item.notes) > noted:
                result = evolve(result, metadata=with_notes(result.metadata, item.notes))
        return result

    def _shield(self, hooks: int) -> anyio.CancelScope:
        """Return a shield for so many hooks; without a limit there is none, since it has to end."""
        seconds = self.config.hook_timeout
        limit = math.inf if seconds is None else (hooks + 1) * seconds  # their clocks go first
        return anyio.move_on_after(limit, shield=limit < math.inf)

    def _no_strategy(self, item: ItemRun, found: object) -> Result:
        what = "no strategy" if found is None else f"a {type(found).__name__} as strategy"
        error = InvalidItemError(
            f"item {item.work.item_id!r} has {what}; give the batch a strategy, or the item an "
            "LLMCallStrategy of its own"
        )
        return failed_result(item, error, Category.INVALID_ITEM)

    async def _dry_run(self, item: ItemRun, strategy: LLMCallStrategy[Any]) -> Result:
        async def run() -> Reply:
            return Reply.read(await strategy.dry_run(item.work.prompt))

        seconds = self.config.hook_timeout
        ended = await call_hook(run, seconds=seconds)
        if isinstance(ended, Ok):
            item.book(ended.value.usage)
            return answer(item, ended.value)
        return self._failed_in(item, "dry_run()", ended, Category.PROGRAM_ERROR)

    async def _go_in(self, item: ItemRun) -> Result | None:
        for middleware in self.middlewares:
            ended = await self._hook(middleware.before_process, item.work)
            if not isinstance(ended, Ok):
                return self._broken(item, middleware, "before_process", ended)
            if ended.value is SKIP:
                reason = f"left out by {type(middleware).__name__}"
                return failed_result(item, None, Category.SKIPPED, reason)
            if ended.value is not None:
                wrong = _replace(item, ended.value)
                if wrong is not None:
                    return self._broken(item, middleware, "before_process", Failed(wrong))
        return None

    async def _go_out(self, item: ItemRun, result: Result) -> Result:
        failed_for_good = not result.success and isinstance(result.exception, Exception)
        noted = len(item.notes)
        for middleware in reversed(self.middlewares):
            if failed_for_good:
                ended = await self._hook(middleware.on_error, item.work, result.exception)
                note_hook(item, f"{type(middleware).__name__}.on_error", ended)
            args = (item.work, result) if self._takes_item[id(middleware)] else (result,)
            ended = await self._hook(middleware.after_process, *args)
            if not isinstance(ended, Ok):
                result = self._broken(item, middleware, "after_process", ended)
            elif isinstance(ended.value, WorkItemResult):
                result = evolve(ended.value, item_id=result.item_id, submission_index=item.index)
            elif ended.value is not None:
                what = f"{type(middleware).__name__}.after_process"
                found = type(ended.value).__name__
                item.note(f"{what} returned a {found}; return a WorkItemResult or None")
        if len(item.notes) > noted:
            result = evolve(result, metadata=with_notes(result.metadata, item.notes))
        return result

    def _hook(self, hook: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return call_hook(hook, *args, seconds=self.config.hook_timeout)

    def _broken(
        self, item: ItemRun, middleware: BaseMiddleware, name: str, ended: Failed | TimedOut
    ) -> Result:
        hook = f"{type(middleware).__name__}.{name}"
        return self._failed_in(item, hook, ended, Category.MIDDLEWARE)

    def _failed_in(
        self, item: ItemRun, hook: str, ended: Failed | TimedOut, category: Category
    ) -> Result:
        if isinstance(ended, Failed):
            return failed_result(item, ended.error, category, f"in {hook}")
        seconds = self.config.hook_timeout or 0.0
        error = FrameworkTimeoutError(
            f"{hook} took longer than hook_timeout ({seconds:g} s)", seconds=seconds
        )
        error.__cause__ = ended.error
        return failed_result(item, error, category)

    def announce(self, result: Result) -> None:
        """Report a finished result to observers."""
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
