"""Formats of files, by their names: what comes in, and what goes out."""

from __future__ import annotations

from pathlib import PurePath
from types import MappingProxyType
from typing import Final, Literal, get_args

from attrs import frozen

from batchllm.cli.exits import UsageError

__all__ = [
    "FileFormat",
    "InputFormat",
    "OutputFormat",
    "format_of_input",
    "format_of_output",
    "known_suffix",
]

InputFormat = Literal["jsonl", "json", "csv", "tsv", "text", "parquet"]
OutputFormat = Literal["jsonl", "csv", "tsv", "parquet"]

_INPUTS: Final[MappingProxyType[str, InputFormat]] = MappingProxyType(
    {
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".json": "json",
        ".csv": "csv",
        ".tsv": "tsv",
        ".tab": "tsv",
        ".text": "text",
        ".txt": "text",
        ".parquet": "parquet",
        ".pq": "parquet",
    }
)
_OUTPUTS: Final[MappingProxyType[str, OutputFormat]] = MappingProxyType(
    {
        ".csv": "csv",
        ".tsv": "tsv",
        ".tab": "tsv",
        ".parquet": "parquet",
        ".pq": "parquet",
    }
)
# Read or written by other programs; as JSON lines they would be called what they are not.
_FOREIGN: Final = frozenset(
    {".xlsx", ".xls", ".ods", ".arrow", ".feather", ".avro", ".orc", ".db", ".sqlite", ".zip"}
    | {".bz2", ".xz", ".zst", ".pdf", ".docx"}
)
_REMEDIES: Final = MappingProxyType(
    {
        ".xlsx": "save it as CSV",
        ".xls": "save it as CSV",
        ".ods": "save it as CSV",
        ".bz2": "unpack it, or pipe it in: bzcat FILE | batchllm run - …",
        ".xz": "unpack it, or pipe it in: xzcat FILE | batchllm run - …",
        ".zst": "unpack it, or pipe it in: zstdcat FILE | batchllm run - …",
        ".zip": "unpack it, or pipe it in: unzip -p FILE | batchllm run - …",
    }
)


@frozen
class FileFormat:
    """The format of one file.

    Attributes:
        name: That of what is in it.
        packed: Whether it is compressed by gzip.
    """

    name: InputFormat
    packed: bool = False


def format_of_input(name: str, given: InputFormat | None = None) -> FileFormat:
    """Return the format of the input *name*; ``-`` is JSON lines unless the user says else.

    Raises:
        UsageError: The name does not show it, and the user did not give it.
    """
    suffix, packed = _suffix(name)
    if given is not None:
        return FileFormat(given, packed)
    if name == "-":
        return FileFormat("jsonl")
    known = _INPUTS.get(suffix)
    if known is not None:
        return FileFormat(known, packed)
    if suffix in _FOREIGN:
        remedy = _REMEDIES.get(suffix, "turn it into one of these")
        msg = (
            f"{name}: files of the kind {suffix} cannot be read, only {', '.join(_INPUTS)} and "
            f"these packed as .gz; {remedy}"
        )
        raise UsageError(msg)
    msg = (
        f"the name {name} does not show its format; give --input-format with one of "
        f"{', '.join(get_args(InputFormat))} (text is a prompt per line)"
    )
    raise UsageError(msg)


def format_of_output(name: str) -> tuple[OutputFormat, bool]:
    """Return the format of the output *name*, and whether it is to be packed by gzip.

    JSON lines, unless the name ends like a table.

    Raises:
        UsageError: The name ends like another kind of file.
    """
    suffix, packed = _suffix(name)
    if suffix == ".json" or suffix in _FOREIGN:
        msg = (
            f"the output {name} would not be what its name says: rows are written as JSON lines, "
            "CSV or Parquet; give a name that ends in .jsonl, .csv, .tsv or .parquet"
        )
        raise UsageError(msg)
    kind = _OUTPUTS.get(suffix, "jsonl")
    if packed and kind == "parquet":
        msg = f"the output {name} would be packed twice: Parquet is packed; leave .gz out"
        raise UsageError(msg)
    return kind, packed


def known_suffix(name: str) -> bool:
    """Return whether *name* ends like a data file, which a prompt hardly does."""
    suffix, packed = _suffix(name)
    return packed or suffix in _INPUTS or suffix in _FOREIGN


def _suffix(name: str) -> tuple[str, bool]:
    path = PurePath(name)
    packed = path.suffix.lower() == ".gz"
    return (PurePath(path.stem) if packed else path).suffix.lower(), packed
