"""The run of a batch beside a driver of provider batches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import anyio
from attrs import evolve

from batchllm.core import BaseMiddleware, ConfigError, EndCause, config_to_json, raise_as_it_was
from batchllm.engine import (
    Batch,
    Delivery,
    OrderedResultStream,
    RunOptions,
    Source,
    check_prices,
    only_error,
)
from batchllm.journal import Journal, JournalWriter, open_journal
from batchllm.policy import PriceBook
from batchllm.provider_batch import (
    BatchDriver,
    Given,
    MiddlewareIn,
    ModeSettings,
    PlannedItems,
    check_echo,
    check_hedge_budget,
    leaf_of,
    wire_of,
)

__all__ = ["RunAll", "open_batch_mode"]

RunAll = Callable[[], Awaitable[None]]

_ALL: Final = 2**62
"""Results that are held back in input order, as many as there are: they wait for the slowest
batch."""

_BY_ITS_USER: Final = frozenset(
    {
        EndCause.CALLER_CANCELLED,
        EndCause.INTERRUPTED,
        EndCause.READER_LEFT,
        EndCause.STOPPED,
    }
)
"""Causes for which ``on_cancel`` says what becomes of batches."""


@asynccontextmanager
async def open_batch_mode(
    options: RunOptions, items: Any, delivery: Delivery, keep: bool, settings: ModeSettings
) -> AsyncGenerator[tuple[Batch, RunAll]]:
    """Open the journal, and give a batch and what runs it and the driver.

    Args:
        options: The user's.
        items: The user's.
        delivery: Where results go.
        keep: Whether to keep every result.
        settings: The options of ``mode="batch"``.

    Raises:
        ConfigError: Something does not go together with this mode.
        JournalError: The journal cannot be used.
    """
    strategy = options.strategy
    if strategy is None:
        msg = "mode='batch' needs a strategy for all items; give one, such as 'openai:gpt-5-mini'"
        raise ConfigError(msg)
    _check(options)
    wire_of(strategy)
    prices = PriceBook(options.config.prices)
    # Before a file is made, and before a group of tasks is open that would wrap the error.
    check_prices(options.config, prices, strategy)
    check_hedge_budget(settings, prices, strategy)
    check_echo(settings, strategy)
    if isinstance(delivery, OrderedResultStream):
        delivery.limit = _ALL
    notes: list[str] = []
    async with AsyncExitStack() as stack:
        journal = options.journal
        if not isinstance(journal, JournalWriter):
            assert isinstance(journal, Journal)
            journal = await stack.enter_async_context(
                open_journal(
                    journal,
                    strategy,
                    on_wait=notes.append,
                    config=config_to_json(options.config),
                )
            )
        source = Source(items)
        source.open()
        planned = PlannedItems(source.size)
        stack.callback(planned.discard)
        batch = Batch(
            evolve(_bounded(options, settings), journal=journal, keeps_spending=True),
            planned,
            delivery,
            keep,
        )
        batch.warnings.extend(notes)
        given = Given(
            source=source,
            strategy=strategy,
            journal=journal,
            settings=settings,
            planned=planned,
            pass_over=batch.pass_over,
            warnings=batch.warnings,
            calls=options.config.max_workers,
            price=prices.of(leaf_of(strategy)),
            spending=batch.spending,
            middleware=_middleware(options, batch),
        )
        driver = BatchDriver(given)
        yield batch, lambda: _run_both(batch, driver)


async def _run_both(batch: Batch, driver: BatchDriver) -> None:
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(driver.run, name="batchllm batches")
            await batch.run()
            group.cancel_scope.cancel("the batch has ended")
    except BaseException as raised:  # noqa: ASYNC103
        raise_as_it_was(only_error(raised))
    finally:
        if batch.termination.cause in _BY_ITS_USER:
            await driver.cancel_batches()
        await driver.close()


def _bounded(options: RunOptions, settings: ModeSettings) -> RunOptions:
    """Let the deadline end online calls, too."""
    if settings.deadline is None or settings.on_late == "wait":
        return options
    bound = options.config.batch_timeout
    seconds = settings.deadline if bound is None else min(bound, settings.deadline)
    return evolve(options, config=evolve(options.config, batch_timeout=seconds))


def _check(options: RunOptions) -> None:
    """Pass if the options go together with this mode.

    Raises:
        ConfigError: Some do not; the message says which, and what to do.
    """
    if options.journal is None:
        msg = (
            "mode='batch' needs a journal, since its batches outlive this process: give "
            "journal='run.db'"
        )
        raise ConfigError(msg)


def _middleware(options: RunOptions, batch: Batch) -> MiddlewareIn | None:
    """Return what takes items past middleware before they are written down, if any looks at them.

    Several at a time, as many as are ready online: one may ask a server of its own.
    """
    plain = BaseMiddleware.before_process
    if all(getattr(type(one), "before_process", None) is plain for one in options.middlewares):
        return None
    return MiddlewareIn(batch.go_in, 2 * options.config.max_workers)
