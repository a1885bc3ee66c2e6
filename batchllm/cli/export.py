"""``batchllm export``: the rows of runs, from their journals."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio

from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.journals import find_journal
from batchllm.cli.output_names import check_no_journal, is_file
from batchllm.cli.rows import RowMaker, column_names
from batchllm.cli.view import make_beside, row_of_stored
from batchllm.cli.writing import RowWriter, open_output
from batchllm.core import JournalError
from batchllm.journal import JournalReader, open_reader

__all__ = ["write_export"]

_ROWS_LOOKED_AT = 1_000


def write_export(
    runs: Sequence[str], output: str, *, overwrite: bool, keep_prompt: bool
) -> ExitCode:
    """Write the rows of one or several runs from their journals.

    Args:
        runs: Their outputs, or their journals.
        output: Where rows go.
        overwrite: Whether an output that exists is replaced.
        keep_prompt: Whether to add what was sent.

    Raises:
        UsageError: A run has no journal, or the output is there already.
    """
    if not runs:
        msg = "give at least one RUN: its output, or its journal"
        raise UsageError(msg)
    if is_file(output) and os.path.exists(output) and not overwrite:
        msg = f"the output {output} exists already; give another name, or --overwrite to lose it"
        raise UsageError(msg)
    check_no_journal(f"the output {output}", output)
    try:
        with ExitStack() as stack:
            journals = [stack.enter_context(open_reader(find_journal(run))) for run in runs]
            _write(journals, output, RowMaker(keep_prompt=keep_prompt))
    except JournalError as error:
        raise UsageError(str(error)) from error
    return ExitCode.OK


def _write(journals: list[JournalReader], output: str, maker: RowMaker) -> None:
    columns = column_names(maker.names, _fields(journals, maker))
    if not is_file(output):
        _write_all(open_output(output, overwrite=True, columns=columns), journals, maker)
        return
    target = Path(output)
    temporary = make_beside(target)
    try:
        writer = open_output(temporary, overwrite=True, columns=columns)
        _write_all(writer, journals, maker)
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _write_all(writer: RowWriter, journals: list[JournalReader], maker: RowMaker) -> None:
    async def write() -> None:
        for row in _rows(journals, maker):
            await writer.write(row)

    try:
        anyio.run(write)
    finally:
        writer.close()


def _rows(journals: list[JournalReader], maker: RowMaker) -> Iterator[dict[str, Any]]:
    for journal in journals:
        for stored in journal.rows():
            yield row_of_stored(maker, stored)
        for row in journal.refused():
            yield json.loads(row)


def _fields(journals: list[JournalReader], maker: RowMaker) -> list[str]:
    """Return the fields of the first rows that are not ours, for the columns of a table."""
    names: dict[str, None] = {}
    for number, row in enumerate(_rows(journals, maker)):
        if number == _ROWS_LOOKED_AT:
            break
        names.update(dict.fromkeys(row))
    return list(names)
