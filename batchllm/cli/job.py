"""One run of ``batchllm run``: lines in, rows out, and a view of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from attrs import define, evolve, field

from batchllm.api import BatchRun, stream_batch
from batchllm.cli.batch_mode import batch_options, check_batch_mode
from batchllm.cli.displays import Display
from batchllm.cli.end_as_json import end_as_json
from batchllm.cli.ending import (
    Ending,
    JournalNotes,
    exit_code,
    with_lines_never_read,
)
from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.interrupts import Interrupts
from batchllm.cli.journaling import (
    check_inputs,
    in_options,
    journal_of,
    prepare_files,
    the_same_command,
)
from batchllm.cli.limiting import LimitWatch
from batchllm.cli.output_names import is_file
from batchllm.cli.plain import PlainOutput
from batchllm.cli.plan import Plan
from batchllm.cli.pricing import check_prices
from batchllm.cli.refusals import Refusals
from batchllm.cli.row_writing import Output, RowWriting
from batchllm.cli.rows import RowMaker, column_names
from batchllm.cli.settings import RunSettings
from batchllm.cli.sharing import shared_gate
from batchllm.cli.snapshot import Snapshot
from batchllm.cli.strategies import key_variables, open_strategy
from batchllm.cli.tallies import Tallies
from batchllm.cli.view import JournaledOutput
from batchllm.cli.writing import AnswerWriter, open_output
from batchllm.core import (
    BatchResult,
    JournalError,
    ProcessorConfig,
    config_to_json,
)
from batchllm.engine import only_error
from batchllm.journal import JournalWriter, Reason, open_journal

__all__ = ["Job"]

_LOOK_SECONDS = 0.25


@define(eq=False)
class Job:
    """One run of the command.

    Attributes:
        plan: What is to be done.
        settings: The options.
        config: The settings of the batch that they stand for.
        display: Where the user watches.
        as_json: Whether the end goes to standard output, as JSON.
    """

    plan: Plan
    settings: RunSettings
    config: ProcessorConfig
    display: Display
    as_json: bool = False
    tallies: Tallies = field(factory=Tallies, init=False)
    _maker: RowMaker = field(init=False)
    _refusals: Refusals = field(init=False)
    _starts: dict[int, float] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        settings = self.settings
        self._refusals = Refusals(self.display, settings.input_format is None)
        self._maker = RowMaker(
            model=settings.model[0].partition(":")[2] if len(settings.model) == 1 else None,
            keep_prompt=settings.keep_prompt,
            keep_metadata=settings.keep_metadata,
            several=len(self.plan.inputs) > 1,
        )

    async def run(self) -> ExitCode:
        """Open everything, run the batch, and say how it ended.

        Raises:
            UsageError: Something cannot be opened, or a setting is wrong.
        """
        try:
            async with open_strategy(self.settings) as strategy:
                return await self._run_with(strategy)
        except (BaseExceptionGroup, JournalError) as raised:
            error = only_error(raised)
            if isinstance(error, JournalError):
                # Before anything was sent: a later one ends the batch, and comes as its problem.
                raise UsageError(in_options(error)) from error
            raise error from None

    async def _run_with(self, strategy: Any) -> ExitCode:
        plan, settings = self.plan, self.settings
        to_file = is_file(plan.output)
        journal = None if plan.single else journal_of(settings, plan.output, is_file=to_file)
        check_batch_mode(
            settings,
            self.config,
            strategy,
            single=plan.single,
            has_journal=journal is not None,
        )
        check_prices(self.config, [strategy])
        if plan.single:
            in_full = self.as_json
            writer = open_output("-", overwrite=False, columns=()) if in_full else AnswerWriter()
            return await self._process(strategy, PlainOutput(writer))
        prepare_files(settings, plan.output, journal, is_file=to_file, say=self.display.note)
        if journal is None:
            return await self._process(strategy, await self._open_plain())
        async with open_journal(
            journal,
            strategy,
            on_wait=self.display.note,
            config=config_to_json(self.config),
            inputs=json.dumps(plan.inputs),
            has_output=to_file,
            keeps_starts=True,
        ) as opened:
            self._starts = {} if opened.starts is None else opened.starts
            if not settings.rerun_changed:
                await check_inputs(opened, plan.inputs)
            output = await (self._open_journaled(opened) if to_file else self._open_plain())
            return await self._process(strategy, output, opened)

    async def _open_plain(self) -> PlainOutput:
        plan, columns = self.plan, await self._columns()
        return PlainOutput(open_output(plan.output, overwrite=False, columns=columns))

    async def _open_journaled(self, journal: JournalWriter) -> JournaledOutput:
        name, columns = self.plan.output, await self._columns()
        try:
            return await JournaledOutput.open(
                journal, Path(name), self._maker, columns, ordered=self.settings.ordered
            )
        except OSError as error:
            msg = f"the output {name} cannot be written: {error.strerror or error}"
            raise UsageError(msg) from None

    async def _columns(self) -> list[str]:
        fields = await anyio.to_thread.run_sync(self.plan.source.columns)
        return column_names(self._maker.names, fields)

    async def _process(
        self,
        strategy: Any,
        output: Output,
        journal: JournalWriter | None = None,
    ) -> ExitCode:
        watch = LimitWatch(self.config)
        try:
            return await self._run_batch(strategy, watch, output, journal)
        finally:
            output.close()  # after an exception; else its rows have closed it, in a thread

    async def _run_batch(
        self,
        strategy: Any,
        watch: LimitWatch,
        output: Output,
        journal: JournalWriter | None,
    ) -> ExitCode:
        interrupts = Interrupts(self.display.note)
        rows = self._rows_to(output)
        gate, config = shared_gate(self.settings.share, self.settings.hold, watch.config)
        problem: str | None = None
        ended: BatchResult[Any, Any] = BatchResult([])
        async with anyio.create_task_group() as services:
            if self.plan.source.is_regular:
                services.start_soon(self._count)
            async with stream_batch(
                self.plan.source.items(),
                strategy,
                config=config,
                gate=gate,
                ordered=self.settings.ordered,
                journal=journal,
                **batch_options(self.settings),
            ) as batch:
                services.start_soon(self._show, batch, interrupts, watch)  # noqa: ASYNC111
                await services.start(interrupts.watch, batch)  # noqa: ASYNC111
                problem = await rows.write_all(batch)
                ended = batch.result
            # What was done about batches of the provider is known when the block has been left.
            ended = evolve(ended, warnings=batch.result.warnings)
            services.cancel_scope.cancel("the run has ended")
        failed = None if journal is None else journal.commits.failed
        if failed is None and not rows.had_enough:
            complete = ended.termination.complete and self._takes_all
            problem = await rows.finish(complete=complete) or problem
        problem = await rows.close() or problem
        if rows.had_enough:
            return ExitCode.OK
        notes = None if journal is None else await JournalNotes.of(journal, output.restored)
        failed_before = 0 if journal is None else journal.ledger.counts[Reason.FAILED_BEFORE]
        code = exit_code(
            ended,
            interrupted=interrupts.count > 0,
            broken=problem is not None,
            failed_before=failed_before,
        )
        damaged = failed is not None and failed.problem in ("corrupt", "missing")
        command = None if damaged else the_same_command()
        self._conclude(self._ending(ended, watch, rows, notes, problem, command), code)
        return code

    def _rows_to(self, output: Output) -> RowWriting:
        return RowWriting(
            output=output,
            maker=self._maker,
            tallies=self.tallies,
            refusals=self._refusals,
            display=self.display,
            single=self.plan.single,
            keys=key_variables(self.settings),
            starts=self._starts,
        )

    @property
    def _takes_all(self) -> bool:
        settings = self.settings
        return settings.limit is None and settings.sample is None

    async def _count(self) -> None:
        source = self.plan.source
        try:
            # Not abandoned: the counter itself looks whether the run still goes on.
            total = await anyio.to_thread.run_sync(source.count)
        except Exception:
            return  # the total is for the display only; what is wrong is said by the reader
        self.tallies.total = total

    async def _show(self, batch: BatchRun[Any], interrupts: Interrupts, watch: LimitWatch) -> None:
        shown = anyio.current_time()
        self.tallies.rate(shown)
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            now, stats = anyio.current_time(), batch.stats()
            watch.look(stats["in_flight"])
            journal = stats.get("journal")
            if journal is not None and journal["skips"]:
                self.tallies.before = journal["finished_before"]
            if now - shown >= self.display.interval:
                shown = now
                ending = "stopping" if interrupts.count else None
                self.display.update(Snapshot.of(self.tallies, stats, now, ending))

    def _ending(
        self,
        ended: BatchResult[Any, Any],
        watch: LimitWatch,
        rows: RowWriting,
        notes: JournalNotes | None,
        problem: str | None,
        command: str | None,
    ) -> Ending:
        # Of an output that broke the lost results are counted, and those are what was read.
        total = self.tallies.total if problem is None else None
        whole = with_lines_never_read(ended, total, notes)
        return Ending(
            result=whole,
            tallies=self.tallies,
            output=rows.output.name,
            limited_by=watch.verdict(ended),
            keys=key_variables(self.settings),
            problem=problem,
            journal=notes,
            command=command,
            remedy="leave out --no-journal" if self.settings.no_journal else "give -o FILE",
            lost=rows.lost,
        )

    def _conclude(self, ending: Ending, code: ExitCode) -> None:
        """Say how it ended: in words, or to a script."""
        if not self.as_json:
            self.display.finish(ending.describe())
        elif not self.plan.single:  # of which the row is there already
            print(json.dumps(end_as_json(ending, code), indent=2), flush=True)
        if ending.problem is not None:
            self.display.note(f"Error: {ending.problem}")
