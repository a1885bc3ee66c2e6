"""The two ways to run a batch: the engine alone, or beside a driver of provider batches."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from batchllm.core import raise_as_it_was
from batchllm.engine import Batch, Delivery, RunOptions, only_error
from batchllm.provider_batch import ModeSettings, check_no_jobs

if TYPE_CHECKING:
    from batchllm.api.batch_mode import RunAll

__all__ = ["open_batch"]


@asynccontextmanager
async def open_batch(
    options: RunOptions, items: Any, delivery: Delivery, keep: bool, mode: ModeSettings | None
) -> AsyncGenerator[tuple[Batch, RunAll]]:
    """Give a batch, and what runs it: online, or through batches of the provider.

    Args:
        options: The user's.
        items: The user's.
        delivery: Where results go.
        keep: Whether to keep every result.
        mode: The options of ``mode="batch"``; ``None`` online.

    Raises:
        ConfigError: Something does not go together with this mode.
        JournalError: The journal cannot be used.
    """
    if mode is None or options.config.dry_run:
        if options.journal is not None and not options.config.dry_run:
            await check_no_jobs(options.journal)
        batch = Batch(options, items, delivery, keep)
        yield batch, batch.run
        return
    # Imported here: few runs have a driver, and it is a tenth of what a run loads.
    from batchllm.api.batch_mode import open_batch_mode

    try:
        async with open_batch_mode(options, items, delivery, keep, mode) as opened:
            yield opened
    except BaseExceptionGroup as errors:
        # The journal is open around all of it, with a task group of its own.
        raise_as_it_was(only_error(errors))
