"""The results of one run on their way to its rows, and what becomes of those it cannot write."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import anyio.to_thread
from attrs import define, field

from batchllm.api import BatchRun
from batchllm.cli.displays import Display
from batchllm.cli.ending import hints
from batchllm.cli.exits import UsageError
from batchllm.cli.journaling import in_options
from batchllm.cli.plain import PlainOutput
from batchllm.cli.refusals import Refusals
from batchllm.cli.rows import RowMaker
from batchllm.cli.source import Taken
from batchllm.cli.tallies import Tallies
from batchllm.cli.view import JournaledOutput
from batchllm.core import BatchError, Category, JournalError, SourceError, Tally, WorkItemResult
from batchllm.engine import CANCEL

__all__ = ["Output", "RowWriting"]

Output: TypeAlias = PlainOutput | JournaledOutput


@define(eq=False, kw_only=True)
class RowWriting:
    """Writes a row for each result of one run.

    Args:
        output: Gets the rows.
        maker: Makes them.
        tallies: Count them.
        refusals: Show the lines that are no items.
        display: Shows what became of a single prompt that failed.
        single: Whether there is one prompt only.
        keys: The variables in which keys are looked for, for hints.
        starts: When items were started, as the journal has it.

    Attributes:
        lost: Sums over the results that could not be written.
        had_enough: Whether the reader of the output has left, such as ``head``.
    """

    output: Output
    maker: RowMaker
    tallies: Tallies
    refusals: Refusals
    display: Display
    single: bool
    keys: list[str]
    starts: dict[int, float]
    lost: Tally = field(factory=Tally, init=False)
    had_enough: bool = field(default=False, init=False)

    async def write_all(self, batch: BatchRun[Any]) -> str | None:
        """Write every row; return what broke the run itself, if anything did."""
        problem = None
        try:
            async for result in batch:
                if problem is None:
                    try:
                        await self._write(result)
                    except OSError as error:
                        problem = self._cannot_write(error)
                        self.had_enough = isinstance(error, BrokenPipeError)
                        batch.stop(CANCEL, problem)
                if problem is not None:
                    self.lost.add(result)
        except SourceError as error:
            if isinstance(error.__cause__, UsageError):
                raise error.__cause__ from None
            return str(error.__cause__ or error)
        except JournalError as error:
            return in_options(error)
        except BatchError as error:
            return str(error)
        return problem

    async def _write(self, result: WorkItemResult[Any, Any]) -> None:
        taken = cast("Taken", result.context)
        # As the journal has it, so that a row which is written again later is the same.
        started = self.starts.pop(result.submission_index, None)
        row = self.maker.row(taken, result, started)
        # A line that was not tried to its end has no row, so that the row of its answer, when the
        # same command was typed again, is its only one.
        if not result.not_run and result.error_category != Category.CANCELLED:
            await self.output.write(taken, result, row)
        self.tallies.add(result, row)
        if result.error_category == Category.INVALID_ITEM:
            self.refusals.add(taken, row["error"])
        elif self.single and not result.success:
            self.display.note(f"batchllm: {result.error_category}: {result.error}")
            for hint in hints(self.tallies, self.keys):
                self.display.note(f"batchllm: {hint}")

    async def finish(self, *, complete: bool) -> str | None:
        """Bring the output to its end; return what was wrong, if anything was."""
        try:
            await self.output.finish(complete=complete)
        except OSError as error:
            return self._cannot_write(error)
        except JournalError as error:
            return in_options(error)
        return None

    async def close(self) -> str | None:
        """Close the output, in a thread; return what was wrong, if anything was."""
        try:
            await anyio.to_thread.run_sync(self.output.close)
        except BrokenPipeError:
            return None
        except OSError as error:
            return self._cannot_write(error)
        return None

    def _cannot_write(self, error: OSError) -> str:
        return f"{self.output.name} cannot be written: {error.strerror or error}"
