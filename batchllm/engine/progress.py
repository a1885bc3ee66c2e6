"""Reports of how far a run has got: a log line now and then, and a callback."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import anyio
from attrs import define, field

from batchllm.core import ProcessorConfig, Tally
from batchllm.engine.guard import Ended, Failed, TimedOut, in_words
from batchllm.engine.hooks import call_hook
from batchllm.engine.slow_hooks import SlowHooks

__all__ = ["Progress"]

logger = logging.getLogger("batchllm")

_SHAPE = "; it is called as progress_callback(completed, total, current_item)"


@define(eq=False)
class Progress:
    """Reports each finished item.

    Args:
        config: Says how often to log, and what to call.
        slow: Reports a callback that holds the event loop.

    Attributes:
        waits: Whether a report takes an await: there is a callback.
    """

    config: ProcessorConfig
    slow: SlowHooks = field(factory=SlowHooks)
    waits: bool = field(init=False)
    warnings: list[str] = field(factory=list, init=False)
    _failures: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.waits = self.config.progress_callback is not None

    def is_due(self, completed: int) -> bool:
        """Return whether a line is to be written after so many items."""
        return completed % self.config.progress_interval == 0 and logger.isEnabledFor(logging.INFO)

    def log(self, tally: Tally, total: int) -> None:
        """Write a line."""
        logger.info(
            "Progress: %d/%d items, %d succeeded, %d failed",
            tally.total,
            max(total, tally.total),
            tally.succeeded,
            tally.failed,
        )

    async def call_back(self, completed: int, total: int, item_id: str) -> None:
        """Call ``progress_callback(completed, total, current_item)``, sync or async."""
        callback: Callable[..., Any] | None = self.config.progress_callback
        if callback is None:
            return
        limit = self.config.progress_callback_timeout
        # Without a limit there is no shield either, since a shield has to end.
        ended: Ended[Any] = TimedOut(None)
        with anyio.CancelScope(shield=limit is not None):
            ended = await call_hook(
                callback,
                completed,
                max(total, completed),
                item_id,
                seconds=limit,
                name="progress_callback",
                slow=self.slow,
            )
        if isinstance(ended, Failed):
            hint = _SHAPE if isinstance(ended.error, TypeError) else ""
            self._note(f"progress_callback raised {in_words(ended.error)}{hint}")
        elif isinstance(ended, TimedOut):
            self._note(f"progress_callback took longer than {limit} s and was cancelled")

    def _note(self, text: str) -> None:
        self._failures += 1
        if self._failures == 1:
            logger.warning("%s; the run goes on", text)
            self.warnings.append(text)
