"""The way out of one item: middleware in reverse, then the post-processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, evolve, field

from batchllm.core import (
    BaseMiddleware,
    Category,
    FrameworkTimeoutError,
    ProcessorConfig,
    WorkItemResult,
    with_notes,
)
from batchllm.engine.attempts import failed_result
from batchllm.engine.guard import Failed, Ok, TimedOut
from batchllm.engine.hook_bounds import HookBound, note_hook
from batchllm.engine.hooks import call_hook
from batchllm.engine.item import ItemRun
from batchllm.engine.post_processing import POST_PROCESSOR, PostProcessing
from batchllm.engine.returned import wrong_with
from batchllm.engine.slow_hooks import SlowHooks

__all__ = ["WayOut", "failed_in"]

Result = WorkItemResult[Any, Any]


@define(eq=False)
class WayOut:
    """Takes one result past its hooks; it can be cut off between any two of them.

    Args:
        item: Whose result it is.
        result: What the attempts made of it; then what the hooks have made of that.
        config: Says how long each hook may take.
        clock: Seconds on the event loop's clock.
        slow: Reports hooks that hold the event loop.
    """

    item: ItemRun
    result: Result
    config: ProcessorConfig
    clock: Callable[[], float]
    slow: SlowHooks
    _under_way: str | None = field(default=None, init=False)
    _failing: bool = field(default=False, init=False)

    @property
    def was_cut_off(self) -> bool:
        """Return whether a hook did not come to its end."""
        return self._under_way is not None

    async def run(
        self,
        middlewares: Sequence[BaseMiddleware],
        takes_item: Mapping[int, bool],
        post_processing: PostProcessing | None,
    ) -> None:
        """Call every hook.

        Args:
            middlewares: In the order of going in.
            takes_item: By a middleware's ``id``, whether its ``after_process`` takes the item.
            post_processing: Sees the result last.
        """
        failed_for_good = not self.result.success and isinstance(self.result.exception, Exception)
        self._failing = True  # a result that a middleware has not seen must not get past it
        for middleware in reversed(middlewares):
            await self._leave(middleware, takes_item[id(middleware)], failed_for_good)
        self._failing = False
        if post_processing is not None:
            bound = self._begin(POST_PROCESSOR)
            ended = await post_processing.call(self.result, bound.seconds)
            post_processing.count(
                note_hook(self.item, POST_PROCESSOR, ended, bound, post_processing.when_late)
            )
        self._under_way = None

    def finish(self, grace: float) -> Result:
        """Return the result with its notes, and what it means if a hook was cut off.

        Args:
            grace: Seconds that a hook had after the batch was stopped or cancelled.
        """
        hook = self._under_way
        if hook is not None:
            text = f"{hook} was cut off {grace:g} s after the batch was stopped or cancelled"
            if self._failing and self.result.success:
                error = FrameworkTimeoutError(text, seconds=grace)
                self.result = failed_result(self.item, error, Category.MIDDLEWARE)
            else:
                self.item.note(text)
        if self.item.notes:
            notes = with_notes(self.result.metadata, self.item.notes)
            if notes is not self.result.metadata:
                self.result = evolve(self.result, metadata=notes)
        return self.result

    async def _leave(self, middleware: BaseMiddleware, takes_item: bool, failed: bool) -> None:
        item, name = self.item, type(middleware).__name__
        if failed:
            hook = f"{name}.on_error"
            error = self.result.exception
            note_hook(item, hook, *await self._call(hook, middleware.on_error, item.work, error))
        hook = f"{name}.after_process"
        args = (item.work, self.result) if takes_item else (self.result,)
        ended, bound = await self._call(hook, middleware.after_process, *args)
        if not isinstance(ended, Ok):
            self.result = failed_in(item, hook, ended, bound, Category.MIDDLEWARE)
        elif isinstance(ended.value, WorkItemResult):
            self._take(ended.value, hook, bound)
        elif ended.value is not None:
            found = type(ended.value).__name__
            item.note(f"{hook} returned a {found}; return a WorkItemResult or None")

    def _take(self, returned: Result, hook: str, bound: HookBound) -> None:
        """Go on with the result that *hook* has returned, unless a field of it is wrong."""
        wrong = None if returned is self.result else wrong_with(returned)
        if wrong is not None:
            self.result = failed_in(self.item, hook, Failed(wrong), bound, Category.MIDDLEWARE)
            return
        self.result = evolve(
            returned, item_id=self.result.item_id, submission_index=self.item.index
        )

    async def _call(self, name: str, hook: Callable[..., Any], *args: Any) -> tuple[Any, HookBound]:
        bound = self._begin(name)
        ended = await call_hook(hook, *args, seconds=bound.seconds, name=name, slow=self.slow)
        return ended, bound

    def _begin(self, name: str) -> HookBound:
        self._under_way = name
        least = self.config.cleanup_timeout
        return HookBound.of(self.config, self.item, self.clock(), least=least)


def failed_in(
    item: ItemRun, hook: str, ended: Failed | TimedOut, bound: HookBound, category: Category
) -> WorkItemResult[Any, Any]:
    """Return the result of an item whose *hook* failed, which fails the item."""
    if isinstance(ended, Failed):
        return failed_result(item, ended.error, category, f"in {hook}")
    error = FrameworkTimeoutError(
        f"{hook} took longer than {bound.setting}", seconds=bound.seconds or 0.0
    )
    error.__cause__ = ended.error
    return failed_result(item, error, category)
