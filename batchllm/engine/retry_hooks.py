"""The hooks after a failed attempt: ``on_error``, the event of the retry, and each ``on_retry``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import define

from batchllm.core import BaseMiddleware, LLMCallStrategy, ProcessingEvent, ProcessorConfig
from batchllm.engine.events import Events
from batchllm.engine.failures import Failure
from batchllm.engine.guard import in_words
from batchllm.engine.hook_bounds import HookBound, note_hook
from batchllm.engine.hooks import call_hook
from batchllm.engine.item import ItemRun
from batchllm.engine.slow_hooks import SlowHooks

__all__ = ["RetryHooks", "call_on_error"]


class Timed(Protocol):
    """The parts of a run that say how long hooks may take."""

    config: ProcessorConfig
    clock: Callable[[], float]


async def call_on_error(
    strategy: LLMCallStrategy[Any],
    hook: Callable[[BaseException], Any],
    item: ItemRun,
    failure: Failure,
    run: Timed,
) -> None:
    """Call ``on_error``; what it raises is noted on the item, and the first error decides.

    Args:
        strategy: Whose hook it is.
        hook: Bound to attempt and state.
        item: Its call has failed.
        failure: How.
        run: Says how long the hook may take.
    """
    # Of an item whose time is over on_error learns, too.
    bound = HookBound.of(run.config, item, run.clock(), least=run.config.cleanup_timeout)
    ended = await call_hook(hook, failure.error, seconds=bound.seconds)
    note_hook(item, f"{type(strategy).__name__}.on_error", ended, bound)


@define(eq=False)
class RetryHooks:
    """Calls what wants to know of a failed attempt that will be followed by another.

    Args:
        middlewares: In the order of going in.
        events: On their way to observers.
        config: Says how long each ``on_retry`` may take.
        clock: Seconds on the event loop's clock.
        slow: Reports those that hold the event loop.
    """

    middlewares: Sequence[BaseMiddleware]
    events: Events
    config: ProcessorConfig
    clock: Callable[[], float]
    slow: SlowHooks

    async def before_retry(self, item: ItemRun, attempt: int, failure: Failure) -> None:
        """Report that *attempt* of *item* ended in *failure*, and that another follows."""
        if self.events.active:
            data = {
                "item_id": item.work.item_id,
                "attempt": attempt,
                "error": in_words(failure.error),
                "error_category": failure.info.error_category,
            }
            self.events.emit(ProcessingEvent.ITEM_RETRY, data)
        for middleware in self.middlewares:
            hook = f"{type(middleware).__name__}.on_retry"
            bound = HookBound.of(self.config, item, self.clock())
            ended = await call_hook(
                middleware.on_retry,
                item.work,
                attempt,
                failure.error,
                seconds=bound.seconds,
                name=hook,
                slow=self.slow,
            )
            note_hook(item, hook, ended, bound)
