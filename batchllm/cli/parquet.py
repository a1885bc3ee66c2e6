"""Parquet files, by pyarrow, which is an extra."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define, field

from batchllm.cli.exits import UsageError

__all__ = ["ParquetColumns", "pyarrow_or_refuse", "read_parquet"]

_ROWS_AT_ONCE = 1_000


def pyarrow_or_refuse(name: str) -> Any:
    """Return the module that reads and writes Parquet.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        msg = f'{name}: Parquet needs pyarrow; install it by: pip install "batchllm[parquet]"'
        raise UsageError(msg) from None
    return pyarrow.parquet


def read_parquet(file: BinaryIO, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a file with their places, counted from 1.

    Raises:
        UsageError: It is not Parquet, or pyarrow is not installed.
    """
    parquet = pyarrow_or_refuse(name)
    from pyarrow import ArrowException

    number = 0
    try:
        for batch in parquet.ParquetFile(file).iter_batches(batch_size=_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (ArrowException, OSError) as error:
        msg = f"{name} is not a Parquet file that can be read: {error}"
        raise UsageError(msg) from None


@define(eq=False)
class ParquetColumns:
    """Learns from the rows which columns they need, and of which type.

    A column whose values are all texts, whole numbers, numbers or truths has that type; any other
    holds JSON, as a mixed column of CSV does.
    """

    _kinds: dict[str, set[type]] = field(factory=dict, init=False)

    def add(self, row: Mapping[str, Any]) -> None:
        """Look at a row."""
        for name, value in row.items():
            kinds = self._kinds.setdefault(name, set())
            if value is not None:
                # A whole number of more than 64 bits fits no column of numbers.
                big = type(value) is int and not -(2**63) <= value < 2**63
                kinds.add(object if big else type(value))

    def write(self, rows: Path, target: Path) -> None:
        """Make the file *target* of the JSON lines in *rows*, all of it at once.

        Raises:
            OSError: It cannot be written.
        """
        parquet = pyarrow_or_refuse(str(target))
        import pyarrow as pa

        types = {name: _type_of(kinds) for name, kinds in self._kinds.items()}
        schema = pa.schema(
            [(name, getattr(pa, kind or "string")()) for name, kind in types.items()]
        )
        unready = target.with_name(f"{target.name}.partial")
        with rows.open("rb") as lines, parquet.ParquetWriter(unready, schema) as writer:
            while chunk := list(islice(lines, _ROWS_AT_ONCE)):
                table = [_typed(json.loads(line), types) for line in chunk]
                writer.write_table(pa.Table.from_pylist(table, schema=schema))
        os.replace(unready, target)


def _type_of(kinds: AbstractSet[type]) -> str | None:
    """Return the name of pyarrow's type for values of *kinds*; ``None`` for JSON."""
    if kinds == {bool}:
        return "bool_"
    if kinds == {int}:
        return "int64"
    if kinds and kinds <= {int, float}:
        return "float64"
    return "string" if kinds <= {str} else None


def _typed(row: Mapping[str, Any], types: Mapping[str, str | None]) -> dict[str, Any]:
    return {name: _cell(value, is_json=types[name] is None) for name, value in row.items()}


def _cell(value: Any, *, is_json: bool) -> Any:
    if value is None:
        return None
    text = json.dumps(value, ensure_ascii=False) if is_json else value
    # Half of a pair of surrogates has no bytes of its own.
    return text.encode("utf-8", "backslashreplace").decode() if isinstance(text, str) else text
