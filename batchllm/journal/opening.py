"""Open a journal for one run, and end it: the thread, the file, and the task that writes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from os import PathLike
from typing import Any, TypeAlias

import anyio

from batchllm.core import JournalError, LLMCallStrategy, counted
from batchllm.journal.commits import CLOSE_SECONDS
from batchllm.journal.entries import Identity, Registrar
from batchllm.journal.identity import differences
from batchllm.journal.ledger import Ledger
from batchllm.journal.settings import Journal
from batchllm.journal.store import Store
from batchllm.journal.worker import Worker
from batchllm.journal.writer import JournalWriter
from batchllm.version import __version__

__all__ = ["JournalLike", "open_journal"]

JournalLike: TypeAlias = "str | PathLike[str] | Journal | JournalWriter"
"""A journal as entry points take it: a path, its settings, or one that is open."""


@asynccontextmanager
async def open_journal(
    settings: Journal,
    strategy: LLMCallStrategy[Any] | None,
    *,
    on_wait: Callable[[str], None],
    config: str | None = None,
    inputs: str | None = None,
    has_output: bool = False,
    keeps_starts: bool = False,
    store: Callable[[Journal], Store] | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> AsyncGenerator[JournalWriter]:
    """Open a journal for one run; leaving the block writes what is left and closes it.

    Args:
        settings: As the user said it.
        strategy: The run's own.
        on_wait: Called with a sentence if it has to wait for another program, or lies on a disk
            in the network.
        config: The settings of the run, as JSON.
        inputs: What the items come from, as JSON.
        has_output: Whether an output file gets a row for each result.
        keeps_starts: Whether the writer keeps ``starts``.
        store: Makes the store; tests give one that fails.
        wall_clock: Seconds since 1970.

    Raises:
        JournalError: It cannot be used, or its answers were given under another strategy.
        ConfigError: The strategy calls a function that has no name to know it by.
    """
    Identity.of(strategy)  # refused before the file is touched
    async with settings.worker() as thread:
        made = store(settings) if store else _store_of(settings, partial(thread.report, on_wait))
        writer: JournalWriter | None = None
        try:
            opened = await thread.call(partial(made.open, __version__, config, inputs))
            if opened.network:
                on_wait(
                    f"the journal {settings.path} lies on a disk in the network: one process at a "
                    "time may use it"
                )
            registrar = Registrar(opened.salt, strategy, opened.volatile)
            if opened.finished and settings.on_changed == "refuse":
                await thread.call(partial(_check_strategy, made, registrar, settings))
            starts: dict[int, float] | None = {} if keeps_starts else None
            ledger = Ledger(settings.on_changed, settings.retry_failed)
            writer = JournalWriter(
                settings, opened, ledger, registrar, made, thread, wall_clock, has_output, starts
            )
            async with anyio.create_task_group() as group:
                group.start_soon(writer.commits.run, name="batchllm journal")
                try:
                    yield writer
                finally:
                    writer.commits.finish()
        finally:
            await _end(thread, made, writer, on_wait)


def _store_of(settings: Journal, on_wait: Callable[[str], None]) -> Store:
    # Prompts that are not to be kept may be there from a run that kept them.
    wipes = not settings.journal_prompts
    return Store(settings.path, settings.durability, on_wait=on_wait, wipes=wipes)


async def _end(
    thread: Worker, store: Store, writer: JournalWriter | None, on_wait: Callable[[str], None]
) -> None:
    with anyio.move_on_after(CLOSE_SECONDS, shield=True):
        try:
            await thread.call(partial(_close, store, writer))
        except JournalError as error:
            # Nothing that was delivered is missing, so it is no reason to fail the run.
            on_wait(f"the end of the run could not be written: {error}")


def _check_strategy(store: Store, registrar: Registrar, settings: Journal) -> None:
    """Pass if the answers that are there were given under the strategy of this run.

    Raises:
        JournalError: They were not.
    """
    if registrar.strategy is None:
        return
    changed = store.changed(registrar.identity.digest)
    if changed is None:
        return
    cost = "" if changed.cost is None else f", about ${changed.cost:,.2f}"
    msg = (
        f"the journal {settings.path} has answers of another strategy: "
        f"{differences(changed.identity, registrar.identity.text)}: "
        f"{counted(changed.count, 'finished item')} "
        f'would run again{cost}; give Journal(…, on_changed="rerun") to ask again, '
        'on_changed="keep" to take the answers as they are, or another path to start anew'
    )
    raise JournalError(msg, problem="changed", path=str(settings.path))


def _close(store: Store, writer: JournalWriter | None) -> None:
    if writer is not None and writer.commits.failed is not None:
        store.abandon()
        return
    if writer is None:
        store.close()
        return
    for group in writer.commits.leftover():
        store.write(group)
    changed = writer.registrar.changed_by_the_run()
    if changed:
        store.note_volatile(changed)
    store.close(*writer.ending)
