"""``batchllm run``: a file of prompts in, a file of results out."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import anyio
import anyio.to_thread
from attrs import define, evolve, field
from cyclopts import Parameter

from batchllm.api import BatchRun, stream_batch
from batchllm.cli.exits import EXIT_CODES, ExitCode, UsageError
from batchllm.cli.interrupts import Interrupts
from batchllm.cli.journaling import in_options, journal_of, prepare_files, the_same_command
from batchllm.cli.limiting import LimitWatch
from batchllm.cli.lines import Line, LineReader
from batchllm.cli.progress import Display, Snapshot, display_for
from batchllm.cli.reading import LineSource, format_of, open_input
from batchllm.cli.settings import RunSettings, backend_options, open_strategy
from batchllm.cli.tallies import Tallies
from batchllm.cli.templates import Template
from batchllm.cli.view import JournaledOutput
from batchllm.cli.writing import RowWriter, check_output, is_file, open_output, output_row
from batchllm.core import (
    BatchError,
    BatchResult,
    Category,
    JournalError,
    ProcessorConfig,
    SourceError,
    WorkItemResult,
    config_to_json,
)
from batchllm.engine import CANCEL, only_error
from batchllm.journal import Journal, JournalWriter, Reason, open_journal

__all__ = ["RUN_EPILOGUE", "RUN_HELP", "run"]

_LOOK_SECONDS = 0.2
_PROBLEMS_SHOWN = 20

RUN_HELP = """\
Send each line of INPUT to a model, and write a row for each.

INPUT is a file, or - for standard input. In .jsonl each line is an object with a "prompt", or \
chat "messages", or the fields that --template names; its "id" is optional; "line-7" \
stands in for it on line 7. In .txt each line is a prompt. Blank lines are skipped.

Every other line gets one row when it is finished, in the order of completion: id, success, \
output, error, error_category, usage, cost, attempts, calls (requests made, those that met a rate \
limit included), and the input's own fields. Fields of the input that are called like one of these \
are kept under "input". A line that cannot be sent, or that has the id of an earlier \
one, is reported. Its row has the error_category invalid_item, the id null and its number as \
"line", and keeps its own id under "input", so that no id stands in two rows.

Ctrl-C lets calls in flight finish and starts no other; a second one cancels them. (Where the \
event loop cannot watch for signals, on Windows with asyncio, Ctrl-C cancels at once.)

Each answer is written to a journal beside the output before its row is written. However the run \
ends, by Ctrl-C, a full disk or kill -9, the same command typed again goes on: it asks only for \
what is not finished, and each line has one row at the end. Lines may be added, edited or taken \
out meanwhile; an edited prompt is asked again. Another model, or another setting that changes the \
answers, is refused until you say which answers shall count."""

RUN_EPILOGUE = f"""\
Examples

  Try it without a key, against a simulator with a quota and 5 % faults:
    batchllm run prompts.jsonl -m "sim:quota?faults=0.05" -o answers.jsonl

  Fifty calls in flight, at most 500 a minute; the key is in OPENAI_API_KEY:
    batchllm run prompts.jsonl -m openai:gpt-5-mini -o answers.jsonl \\
      --concurrency 50 --rpm 500

  Prompts made of the fields of each row:
    batchllm run reviews.jsonl -m openai:gpt-5-mini -o moods.jsonl \\
      --template "Is this review glad or sad? One word. {{review}}"

  A server of your own, in a pipe:
    head -100 prompts.txt | batchllm run - --input-format text \\
      -m vllm:qwen3 --base-url http://gpu1:8000/v1 | jq -r .output

{EXIT_CODES}"""


def run(
    input: Annotated[str, Parameter(allow_leading_hyphen=True, help="A file, or -.")],
    /,
    *,
    settings: Annotated[RunSettings, Parameter(name="*")],
) -> ExitCode:
    """Send each line of INPUT to a model, and write a row for each."""
    display = display_for(sys.stderr, quiet=settings.quiet, output=settings.output)
    with _with_warnings_in(display, quiet=settings.quiet):
        job = Job(input, settings, display)
        options = backend_options(settings.backend)
        return anyio.run(job.run, **options)


@contextmanager
def _with_warnings_in(display: Display, *, quiet: bool) -> Generator[None]:
    """Show warnings of the library as lines of the display."""
    handler = logging.NullHandler() if quiet else _NoteHandler(display)
    logger = logging.getLogger("batchllm")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: display.note(f"Warning: {message}")
            yield
    finally:
        logger.removeHandler(handler)
        display.close()


class _NoteHandler(logging.Handler):
    def __init__(self, display: Display) -> None:
        super().__init__(logging.WARNING)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        self._display.note(record.getMessage())


@define(eq=False)
class Job:
    """One run of the command.

    Attributes:
        input: The name of the input.
        settings: The options.
        display: Where the user watches.
    """

    input: str
    settings: RunSettings
    display: Display
    tallies: Tallies = field(factory=Tallies, init=False)
    _problems: int = field(default=0, init=False)

    async def run(self) -> ExitCode:
        """Open everything, run the batch, and say how it ended.

        Raises:
            UsageError: Something cannot be opened, or a setting is wrong.
        """
        settings = self.settings
        config = settings.processor_config()
        template = None if settings.template is None else Template.parse(settings.template)
        reader = LineReader(format_of(self.input, settings.input_format), template)
        if settings.limit is not None and settings.limit < 0:
            msg = f"--limit is {settings.limit}; give 0 or more"
            raise UsageError(msg)
        check_output(settings.output, beside=self.input)
        to_file = is_file(settings.output)
        journal = journal_of(settings, is_file=to_file)
        try:
            with closing(open_input(self.input)) as opened:
                source = LineSource(opened, reader, settings.limit)
                async with open_strategy(settings) as strategy:
                    prepare_files(settings, journal, is_file=to_file)
                    if journal is None:
                        with closing(PlainOutput(open_output(settings.output))) as output:
                            return await self._process(source, strategy, config, output)
                    return await self._process_journaled(source, strategy, config, journal)
        except (BaseExceptionGroup, JournalError) as raised:
            error = only_error(raised)
            if isinstance(error, JournalError):
                # Before anything was sent: a later one ends the batch, and comes as its problem.
                raise UsageError(in_options(error)) from error
            raise error from None

    async def _process_journaled(
        self, source: LineSource, strategy: Any, config: ProcessorConfig, settings: Journal
    ) -> ExitCode:
        to_file = is_file(self.settings.output)
        async with open_journal(
            settings,
            strategy,
            on_wait=self.display.note,
            config=config_to_json(config),
            inputs=json.dumps([self.input]),
            has_output=to_file,
        ) as journal:
            output = await self._open_output(journal, to_file=to_file)
            with closing(output):
                return await self._process(source, strategy, config, output, journal)

    async def _open_output(
        self, journal: JournalWriter, *, to_file: bool
    ) -> PlainOutput | JournaledOutput:
        name = self.settings.output
        if not to_file:
            return PlainOutput(open_output(name))
        try:
            return await JournaledOutput.open(journal, Path(name), ordered=self.settings.ordered)
        except OSError as error:
            msg = f"the output {name} cannot be written: {error.strerror or error}"
            raise UsageError(msg) from None

    async def _process(
        self,
        source: LineSource,
        strategy: Any,
        config: ProcessorConfig,
        output: PlainOutput | JournaledOutput,
        journal: JournalWriter | None = None,
    ) -> ExitCode:
        interrupts = Interrupts(self.display.note)
        watch = LimitWatch(config)
        problem: str | None = None
        ended: BatchResult[Any, Any] = BatchResult([])
        async with anyio.create_task_group() as services:
            if source.input.regular:
                services.start_soon(self._count, source)
            async with stream_batch(
                source.items(),
                strategy,
                config=config,
                ordered=self.settings.ordered,
                journal=journal,
            ) as batch:
                services.start_soon(self._show, batch, interrupts, watch)  # noqa: ASYNC111
                await services.start(interrupts.watch, batch)  # noqa: ASYNC111
                problem = await self._write_all(batch, source, output)
                ended = batch.result
            services.cancel_scope.cancel("the run has ended")
        if problem is None:
            complete = ended.termination.complete and self.settings.limit is None
            problem = await self._finish(output, complete=complete)
        self._conclude(ended, watch, problem, output, journal)
        failed_before = 0 if journal is None else journal.ledger.counts[Reason.FAILED_BEFORE]
        return exit_code(
            ended,
            interrupted=interrupts.count > 0,
            broken=problem is not None,
            failed_before=failed_before,
        )

    async def _finish(self, output: PlainOutput | JournaledOutput, *, complete: bool) -> str | None:
        """Bring the output to its end; return what was wrong, if anything was."""
        try:
            await output.finish(complete=complete)
        except OSError as error:
            return f"{output.name} cannot be written: {error.strerror or error}"
        except JournalError as error:
            return in_options(error)
        return None

    async def _write_all(
        self,
        batch: BatchRun[Any],
        source: LineSource,
        output: PlainOutput | JournaledOutput,
    ) -> str | None:
        """Write every row; what broke the run itself, if anything did."""
        problem = None
        try:
            async for result in batch:
                if problem is None:
                    try:
                        await self._write(source, result, output)
                    except OSError as error:
                        why = error.strerror or error
                        problem = f"{output.name} cannot be written: {why}"
                        batch.stop(CANCEL, problem)
        except SourceError as error:
            return f"{source.input.name} cannot be read on: {error.__cause__ or error}"
        except JournalError as error:
            return in_options(error)
        except BatchError as error:
            return str(error)
        return problem

    async def _write(
        self,
        source: LineSource,
        result: WorkItemResult[Any, Any],
        output: PlainOutput | JournaledOutput,
    ) -> None:
        line = cast("Line", result.context)
        row = output_row(line, result)
        # A line that was not tried to its end has no row, so that its answer, when the same
        # command has been typed again, is the only one.
        if not result.not_run and result.error_category != Category.CANCELLED:
            await output.write(line, result, row)
        self.tallies.add(result, row)
        if result.error_category == Category.INVALID_ITEM:
            self._report(f"{source.input.name}:{line.number}: not sent: ", row["error"])

    def _report(self, where: str, error: str) -> None:
        self._problems += 1
        if self._problems <= _PROBLEMS_SHOWN:
            self.display.note(where + error.partition(": ")[2])
        elif self._problems == _PROBLEMS_SHOWN + 1:
            self.display.note("further lines that cannot be sent are in the output only")

    async def _count(self, source: LineSource) -> None:
        try:
            total = await anyio.to_thread.run_sync(source.input.count_lines)
        except OSError:
            return  # the total is for the display only
        limit = self.settings.limit
        self.tallies.total = total if limit is None else min(total, limit)

    async def _show(self, batch: BatchRun[Any], interrupts: Interrupts, watch: LimitWatch) -> None:
        shown = anyio.current_time()
        self.tallies.rate(shown)
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            now, stats = anyio.current_time(), batch.stats()
            journal = stats.get("journal")
            if journal is not None and journal["skips"]:
                self.tallies.before = journal["finished_before"]
            watch.look(stats["in_flight"])
            if now - shown >= self.display.interval:
                shown = now
                ending = "stopping" if interrupts.count else None
                self.display.update(Snapshot.of(self.tallies, stats, now, ending))

    def _left_over(self, journal: JournalWriter | None) -> str:
        """Say what has no answer because the run ended before, and how to go on."""
        parts = []
        if self.tallies.not_run:
            parts.append(f"{_lines(self.tallies.not_run)} had no turn")
        if self.tallies.cut_off:
            parts.append(f"{_lines(self.tallies.cut_off)} were cut off, and may be billed")
        parts.append("lines that have no row were not finished")
        text = "; ".join(parts)
        if journal is not None:
            return f"{text}. The same command goes on:\n  {the_same_command()}"
        remedy = "leave out --no-journal" if self.settings.no_journal else "give -o FILE"
        return f"{text}. There is no journal to go on from; {remedy} to have one."

    def _of_journal(self, ended: BatchResult[Any, Any], output: Any, journal: JournalWriter) -> str:
        """Say what came from the journal, and what it takes."""
        counts, lines = journal.ledger.counts, list[str]()
        if output.restored:
            lines.append(f"{_rows(output.restored)} restored from the journal.")
        if ended.termination.complete and ended.total_items == 0 and journal.ledger.taken_over:
            lines.append(
                f"Nothing is left: {_lines(journal.ledger.taken_over)} were finished before; "
                "--fresh asks again."
            )
        if counts[Reason.FAILED_BEFORE]:
            lines.append(
                f"{_lines(counts[Reason.FAILED_BEFORE])} failed before; --retry-failed tries again."
            )
        if journal.opened.maybe_billed:
            lines.append(
                f"{_lines(len(journal.opened.maybe_billed))} had a call in flight when an earlier "
                "run ended; those calls may be billed."
            )
        path = journal.settings.path
        lines.append(f"Journal: {path} ({path.stat().st_size / 1e6:,.1f} MB)")
        return "\n".join(lines)

    def _conclude(
        self,
        ended: BatchResult[Any, Any],
        watch: LimitWatch,
        problem: str | None,
        output: Any,
        journal: JournalWriter | None,
    ) -> None:
        # Waits of hundreds of lines at once add up to hours that no one call waited.
        stats = {**ended.stats, "limited_by": watch.verdict(ended), "waits": {}}
        text = evolve(ended, stats=stats).summary()
        failures = self.tallies.failures()
        if failures:
            text += "\n\nFailures\n" + "\n".join(f"  {line}" for line in failures)
        if journal is not None:
            text += f"\n\n{self._of_journal(ended, output, journal)}"
        if not ended.termination.complete or problem is not None:
            text += f"\n\n{self._left_over(journal)}"
        self.display.finish(text)
        if problem is not None:
            self.display.note(f"Error: {problem}")


@define(eq=False)
class PlainOutput:
    """An output without a journal: rows go out as they come."""

    writer: RowWriter
    restored: int = 0

    @property
    def name(self) -> str:
        """The output as messages name it."""
        return self.writer.name

    async def write(self, line: Line, result: WorkItemResult[Any, Any], row: Any) -> None:
        """Write a row.

        Raises:
            OSError: It cannot be written.
        """
        await self.writer.write(row)

    async def finish(self, *, complete: bool) -> None:
        """Do nothing: every row is out."""

    def close(self) -> None:
        """Close the file."""
        self.writer.close()


def _lines(count: int) -> str:
    return f"{count:,} line{'' if count == 1 else 's'}"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def exit_code(
    ended: BatchResult[Any, Any], *, interrupted: bool, broken: bool, failed_before: int = 0
) -> ExitCode:
    """Return the exit code for the end of a run."""
    if broken:
        return ExitCode.STOPPED
    if not ended.termination.complete:
        return ExitCode.INTERRUPTED if interrupted else ExitCode.STOPPED
    all_well = ended.succeeded == ended.total_items and not failed_before
    return ExitCode.OK if all_well else ExitCode.SOME_FAILED
