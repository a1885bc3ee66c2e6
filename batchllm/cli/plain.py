"""The output of a run without a journal: rows go out as they come."""

from __future__ import annotations

from typing import Any

from attrs import define

from batchllm.cli.source import Taken
from batchllm.cli.writing import RowWriter
from batchllm.core import WorkItemResult

__all__ = ["PlainOutput"]


@define(eq=False)
class PlainOutput:
    """A writer of rows with the methods of ``JournaledOutput``."""

    _writer: RowWriter
    restored: int = 0

    @property
    def name(self) -> str:
        """The output as messages name it."""
        return self._writer.name

    async def write(
        self, taken: Taken, result: WorkItemResult[Any, Any], row: dict[str, Any]
    ) -> None:
        """Write a row.

        Raises:
            OSError: It cannot be written.
        """
        await self._writer.write(row)

    async def finish(self, *, complete: bool) -> None:
        """Do nothing: every row is out."""

    def close(self) -> None:
        """Write what is still to be written, and close the file.

        Raises:
            OSError: It cannot be written.
        """
        self._writer.close()
