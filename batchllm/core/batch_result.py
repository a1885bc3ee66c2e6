"""The results of a batch, and the ways to show them and to keep them."""

from __future__ import annotations

from os import PathLike
from typing import Any, TextIO, TypeVar

from attrs import frozen

from batchllm.core.batch_data import BatchData
from batchllm.core.dataframe import DataFrameLibrary, arrow_table_of, dataframe_of
from batchllm.core.serialize import read_batch, write_batch, write_lines
from batchllm.core.summary import html_of, one_line, summary_of

__all__ = ["BatchResult"]

Out = TypeVar("Out")
Ctx = TypeVar("Ctx")


@frozen(repr=False)
class BatchResult(BatchData[Out, Ctx]):
    """The results of a batch, with its sums and how it ended.

    Iterate over it for the results, as over ``results``.

    Attributes:
        results: In the order of completion.
        termination: How it ended.
        wall_time: Seconds from start to end.
        warnings: What went wrong beside the items, such as a ``cleanup`` that raised.
        never_read: Items of a source of known size that the batch did not come to.
    """

    def summary(self) -> str:
        """Give a text for people: counts, tokens, cost, time, waits, and what went wrong."""
        return summary_of(self)

    def to_json(self) -> str:
        """Write it as JSON, to be read by :meth:`from_json`.

        Exceptions are kept as the name of their type and their message. Attrs classes,
        dataclasses, enums and Pydantic models become plain values; tuples become lists.

        Raises:
            ValueError: An output, context or metadata has no form in JSON; it names the item.
        """
        return write_batch(self)

    @classmethod
    def from_json(
        cls, text: str | bytes, *, output_type: Any = Any, context_type: Any = Any
    ) -> BatchResult[Any, Any]:
        """Read what :meth:`to_json` wrote.

        Args:
            text: The JSON.
            output_type: What to make of each output, such as an attrs class; by default it
                stays as JSON has it.
            context_type: The same for contexts.

        Raises:
            ValueError: It is not the JSON of a batch; it names the first wrong part.
        """
        return cls(**read_batch(text, output_type, context_type))

    def to_dataframe(self, library: DataFrameLibrary | None = None) -> Any:
        """Return a table with a row per result, in input order.

        Args:
            library: ``"pandas"`` or ``"polars"``; by default pandas, else polars.

        Raises:
            ImportError: It is not installed; the message has the line that installs it.
        """
        return dataframe_of(self.in_input_order(), library)

    def to_arrow(self) -> Any:
        """Return a table of Arrow with a row per result, in input order.

        DuckDB and Parquet take it as it is. Outputs that have no common type become JSON.

        Raises:
            ImportError: pyarrow is not installed; the message has the line that installs it.
        """
        return arrow_table_of(self.in_input_order())

    def to_jsonl(self, file: str | PathLike[str] | TextIO) -> None:
        """Write a line of JSON per result, in input order.

        ``WorkItemResult.from_dict(json.loads(line))`` reads a line again.

        Args:
            file: A path, at which a file appears once it is whole; or an open text file.

        Raises:
            ValueError: An output, context or metadata has no form in JSON; it names the item.
            OSError: The file cannot be written.
        """
        write_lines(self.in_input_order(), file)

    def __repr__(self) -> str:
        return one_line(self)

    def _repr_html_(self) -> str:
        return html_of(self)
