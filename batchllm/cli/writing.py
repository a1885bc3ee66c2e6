"""Results as rows of JSON, each on its way to the file as soon as it is there."""

from __future__ import annotations

import json
import math
import os
import stat
import sys
from typing import Any, BinaryIO

import anyio.to_thread
from attrs import define

from batchllm.cli.exits import UsageError
from batchllm.cli.lines import Line
from batchllm.core import Category, WorkItemResult

__all__ = ["RowWriter", "check_output", "encode_row", "is_file", "open_output", "output_row"]

_OURS = frozenset(
    {
        "attempts",
        "calls",
        "cost",
        "error",
        "error_category",
        "id",
        "input",
        "output",
        "success",
        "usage",
    }
)


def output_row(line: Line, result: WorkItemResult[Any, Any]) -> dict[str, Any]:
    """The row for a line and its result.

    The input's fields follow ours; those that are called like one of ours are put together under
    ``"input"``. A line that could not be read stands there as a text.

    A line that was refused has the id ``None``, and its number: its own id, kept under ``"input"``,
    may be that of another line, and no row may be taken for that one's answer.
    """
    refused = result.error_category == Category.INVALID_ITEM
    ours = _OURS | {"line"} if refused else _OURS
    row: dict[str, Any] = {"id": None, "line": line.number} if refused else {"id": line.item_id}
    row |= {
        "success": result.success,
        "output": result.output,
        "error": error_of(line, result),
        "error_category": result.error_category,
        "usage": dict(result.token_usage) or None,
        "cost": result.cost,
        "attempts": result.attempts,
        # A call that never started, since the run was ending, took no time at all.
        "calls": sum(1 for attempt in result.timing.attempts if attempt.execution > 0),
    }
    row |= {name: value for name, value in line.fields.items() if name not in ours}
    kept = ours if refused else ours - {"id"}
    theirs = {name: value for name, value in line.fields.items() if name in kept}
    if line.text is not None:
        row["input"] = line.text
    elif theirs:
        row["input"] = theirs
    return row


def error_of(line: Line, result: WorkItemResult[Any, Any]) -> str | None:
    """Say what went wrong with a line, with its number if the line itself is at fault."""
    if result.error_category != Category.INVALID_ITEM:
        return result.error
    by_engine = str(result.error).removeprefix(f"item {result.submission_index}: ")
    problem = line.problem or by_engine.replace("item_id is", "its id is")
    return f"line {line.number}: {problem}"


@define(eq=False)
class RowWriter:
    """Writes rows.

    Attributes:
        name: As messages show it.
        file: Where they go, unbuffered.
        waits: Whether a write may have to wait for a reader, and so belongs in a thread.
    """

    name: str
    file: BinaryIO
    waits: bool

    async def write(self, row: dict[str, Any]) -> None:
        """Write a row; it is out of our hands when this returns.

        Raises:
            OSError: It cannot be written.
        """
        await self.write_bytes(encode_row(row))

    async def write_bytes(self, data: bytes) -> None:
        """Write a row that is encoded.

        Raises:
            OSError: It cannot be written.
        """
        if self.waits:
            await anyio.to_thread.run_sync(self._write_all, data, abandon_on_cancel=True)
        else:
            self._write_all(data)

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self.file.write(rest) :]

    def close(self) -> None:
        """Close the file."""
        self.file.close()


_OTHER_FORMATS = (".csv", ".parquet", ".tsv", ".xlsx")


def is_file(name: str) -> bool:
    """Return whether an output is a file on a disk, or will be one; no device, no pipe."""
    return name != "-" and (not os.path.exists(name) or os.path.isfile(name))


def check_output(name: str, *, beside: str) -> None:
    """Pass if *name* can be the output of a run.

    Args:
        name: Where to write.
        beside: The input, which is never written over.

    Raises:
        UsageError: It is the input, or its name promises another format than JSON lines.
    """
    if name.lower().endswith(_OTHER_FORMATS):
        msg = (
            f"the output {name} would be no {os.path.splitext(name)[1]}: rows are written as JSON "
            "lines only; give a name that ends in .jsonl"
        )
        raise UsageError(msg)
    if os.path.exists(name) and os.path.exists(beside) and os.path.samefile(name, beside):
        msg = f"the output {name} is the input itself; give another name"
        raise UsageError(msg)


def open_output(name: str) -> RowWriter:
    """Open a new file, a device or pipe such as ``/dev/null``, or standard output for ``-``.

    Raises:
        UsageError: It exists already, or cannot be made.
    """
    if name == "-":
        sys.stdout.flush()
        file: BinaryIO = open(1, "wb", buffering=0, closefd=False)  # noqa: SIM115
        return RowWriter("standard output", file, _waits(file))
    try:
        file = open(name, "xb" if is_file(name) else "wb", buffering=0)  # noqa: SIM115
    except FileExistsError:
        msg = f"the output {name} exists already; give another name, or --overwrite to lose it"
        raise UsageError(msg) from None
    except OSError as error:
        msg = f"the output {name} cannot be written: {error.strerror or error}"
        raise UsageError(msg) from None
    return RowWriter(name, file, _waits(file))


def _waits(file: BinaryIO) -> bool:
    return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def encode_row(row: dict[str, Any]) -> bytes:
    """Write a row as a line of JSON."""
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        # An output with NaN or infinity is paid for, and JSON has no such number: null stands
        # for it, as JavaScript and Pydantic write it.
        text = json.dumps(_without_infinity(row), ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half of a pair of surrogates has no bytes of its own
        return json.dumps(json.loads(text)).encode() + b"\n"


def _without_infinity(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_infinity(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinity(part) for part in value]
    return value
