"""``batchllm run``: a file of prompts in, a file of results out."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Annotated, Any

import anyio
import anyio.to_thread
from attrs import define, evolve, field
from cyclopts import Parameter

from batchllm.api import BatchRun, stream_batch
from batchllm.cli.exits import EXIT_CODES, ExitCode, UsageError
from batchllm.cli.interrupts import Interrupts
from batchllm.cli.limiting import LimitWatch
from batchllm.cli.lines import LineReader
from batchllm.cli.progress import Display, Snapshot, display_for
from batchllm.cli.reading import LineSource, format_of, open_input
from batchllm.cli.settings import RunSettings, backend_options, open_strategy
from batchllm.cli.tallies import Tallies
from batchllm.cli.templates import Template
from batchllm.cli.writing import RowWriter, open_output, output_row
from batchllm.core import (
    BatchError,
    BatchResult,
    Category,
    ProcessorConfig,
    SourceError,
    WorkItemResult,
)
from batchllm.engine import CANCEL, only_error

__all__ = ["RUN_EPILOGUE", "RUN_HELP", "run"]

_LOOK_SECONDS = 0.2
_PROBLEMS_SHOWN = 20

RUN_HELP = """\
Send each line of INPUT to a model, and write a row for each.

INPUT is a file, or - for standard input. In .jsonl each line is an object with a "prompt", or \
chat "messages", or the fields that --template names; its "id" is optional; "line-7" \
stands in for it on line 7. In .txt each line is a prompt. Blank lines are skipped.

Every other line gets exactly one row, in the order of completion: id, success, output, error, \
error_category, usage, cost, attempts, calls (requests made, those that met a rate limit \
included), and the input's own fields. Fields of the input that are called like one of these \
are kept under "input". A line that cannot be sent, or that has the id of an earlier \
one, is reported. Its row has the error_category invalid_item, the id null and its number as \
"line", and keeps its own id under "input", so that no id stands in two rows.

Ctrl-C lets calls in flight finish and starts no other; a second one cancels them. (Where the \
event loop cannot watch for signals, on Windows with asyncio, Ctrl-C cancels at once.) Rows that \
are written stay."""

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
        try:
            with closing(open_input(self.input)) as opened:
                async with open_strategy(settings) as strategy:
                    output = open_output(
                        settings.output, overwrite=settings.overwrite, beside=self.input
                    )
                    with closing(output):
                        source = LineSource(opened, reader, settings.limit)
                        return await self._process(source, strategy, config, output)
        except BaseExceptionGroup as errors:
            raise only_error(errors) from None

    async def _process(
        self, source: LineSource, strategy: Any, config: ProcessorConfig, output: RowWriter
    ) -> ExitCode:
        interrupts = Interrupts(self.display.note)
        watch = LimitWatch(config)
        problem: str | None = None
        ended: BatchResult[Any, Any] = BatchResult([])
        async with anyio.create_task_group() as services:
            if source.input.regular:
                services.start_soon(self._count, source)
            async with stream_batch(
                source.items(), strategy, config=config, ordered=self.settings.ordered
            ) as batch:
                services.start_soon(self._show, batch, interrupts, watch)  # noqa: ASYNC111
                await services.start(interrupts.watch, batch)  # noqa: ASYNC111
                problem = await self._write_all(batch, source, output)
                ended = batch.result
            services.cancel_scope.cancel("the run has ended")
        self._conclude(ended, watch, problem)
        return exit_code(ended, interrupted=interrupts.count > 0, broken=problem is not None)

    async def _write_all(
        self, batch: BatchRun[Any], source: LineSource, output: RowWriter
    ) -> str | None:
        """Write every row; what broke the run itself, if anything did."""
        problem = None
        try:
            async for result in batch:
                if problem is None:
                    try:
                        await self._write(source, result, output)
                    except OSError as error:
                        problem = f"{output.name} cannot be written: {error.strerror or error}"
                        batch.stop(CANCEL, problem)
        except SourceError as error:
            return f"{source.input.name} cannot be read on: {error.__cause__ or error}"
        except BatchError as error:
            return str(error)
        return problem

    async def _write(
        self, source: LineSource, result: WorkItemResult[Any, Any], output: RowWriter
    ) -> None:
        line = source.line_of(result.submission_index)
        row = output_row(line, result)
        await output.write(row)
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
            watch.look(stats["in_flight"])
            if now - shown >= self.display.interval:
                shown = now
                ending = "stopping" if interrupts.count else None
                self.display.update(Snapshot.of(self.tallies, stats, now, ending))

    def _left_over(self) -> str:
        """Where the lines are that got no answer because the run ended before."""
        rest = "lines that were not read have no row"
        count = self.tallies.not_run
        if not count:
            return f"Run the rest again: {rest}."
        return (
            f"Run the rest again: {count:,} lines have a row with the error_category stopped or "
            f"parked, and {rest}."
        )

    def _conclude(
        self, ended: BatchResult[Any, Any], watch: LimitWatch, problem: str | None
    ) -> None:
        # Waits of hundreds of lines at once add up to hours that no one call waited.
        stats = {**ended.stats, "limited_by": watch.verdict(ended), "waits": {}}
        text = evolve(ended, stats=stats).summary()
        failures = self.tallies.failures()
        if failures:
            text += "\n\nFailures\n" + "\n".join(f"  {line}" for line in failures)
        if not ended.termination.complete:
            text += f"\n\n{self._left_over()}"
        self.display.finish(text)
        if problem is not None:
            self.display.note(f"Error: {problem}")


def exit_code(ended: BatchResult[Any, Any], *, interrupted: bool, broken: bool) -> ExitCode:
    """Return the exit code for the end of a run."""
    if broken:
        return ExitCode.STOPPED
    if not ended.termination.complete:
        return ExitCode.INTERRUPTED if interrupted else ExitCode.STOPPED
    return ExitCode.OK if ended.succeeded == ended.total_items else ExitCode.SOME_FAILED
