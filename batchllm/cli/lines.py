"""Records of input, read as rows: of JSON, of text and of tables; or what is wrong with them."""

from __future__ import annotations

import csv
import json
import math
from typing import Any, NoReturn, Protocol, cast

from attrs import define, evolve, field, frozen

from batchllm.cli.exits import UsageError
from batchllm.cli.formats import InputFormat
from batchllm.cli.prompts import IDS, Line, PromptRules, stand_in
from batchllm.cli.records import RowSplitter, fields_of

__all__ = ["LineReader", "Reader", "TableReader", "ValueReader"]


class Reader(Protocol):
    """Reads the records of one input."""

    def read(self, number: int, record: Any) -> Line | None:
        """Read a record; ``None`` if it is blank."""
        ...


@frozen
class LineReader:
    """Reads records of text.

    Args:
        format: ``"jsonl"``: a JSON object per line; ``"text"``: a prompt per line.
        rules: How a row becomes a prompt.
    """

    format: InputFormat
    rules: PromptRules = field(factory=PromptRules)

    def read(self, number: int, record: bytes) -> Line | None:
        """Read one line; ``None`` if it is blank."""
        if not record.strip():
            return None
        record = record.rstrip(b"\r\n")
        text, problem = _text_of(record)
        if problem is not None:
            return _unreadable(number, record, problem)
        if self.format == "text":
            return self.rules.line(number, {"prompt": text})
        try:
            row: Any = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        except json.JSONDecodeError as error:
            problem = f"not JSON: {error.msg} at column {error.colno}"
            return _unreadable(number, record, problem)
        except ValueError as error:
            return _unreadable(number, record, f"not JSON: {error}")
        except RecursionError:
            return _unreadable(number, record, "not JSON that can be read: it is nested too deeply")
        if not isinstance(row, dict):
            problem = f'a JSON {_kind_of(row)} and not an object; give {{"prompt": …}}'
            return _unreadable(number, record, problem)
        return self.rules.line(number, cast("dict[str, Any]", row))


@frozen
class ValueReader:
    """Reads records that are values already: elements of a JSON list, rows of Parquet.

    A list that turned out to be JSON lines comes as bytes.
    """

    rules: PromptRules = field(factory=PromptRules)

    def read(self, number: int, record: Any) -> Line | None:
        """Read one value; a text is a prompt."""
        match record:
            case bytes():
                return LineReader("jsonl", self.rules).read(number, record)
            case str():
                return self.rules.line(number, {"prompt": record})
            case dict():
                return self.rules.line(number, cast("dict[str, Any]", record))
            case _:
                shown = json.dumps(record)
                problem = f'a JSON {_kind_of(record)} and not an object; give {{"prompt": …}}'
                return _unreadable(number, shown.encode(), problem)


@define(eq=False)
class TableReader:
    """Reads rows of CSV; the first is the header.

    Args:
        splitter: Knows the delimiter.
        rules: How a row becomes a prompt.
    """

    splitter: RowSplitter
    rules: PromptRules = field(factory=PromptRules)
    header: list[str] | None = field(default=None, init=False)

    def read(self, number: int, record: bytes) -> Line | None:
        """Read one row; ``None`` if it is blank or the header.

        Raises:
            UsageError: The header has no column for prompts, or it cannot be read.
        """
        if not record.strip():
            return None
        record = record.rstrip(b"\r\n")
        text, problem = _text_of(record)
        cells: list[str] = []
        if problem is None:
            try:
                cells = fields_of(text, self.splitter.delimiter or ",")
            except csv.Error as error:
                problem = f"not a row of a table: {error}"
        if self.header is None:
            if problem is not None:
                msg = f"the header cannot be read: {problem}"
                raise UsageError(msg)
            self.header = self._checked(cells)
            return None
        if problem is None and len(cells) != len(self.header):
            problem = f"it has {_fields(len(cells))}, and the header {len(self.header)}"
        if problem is not None:
            return _unreadable(number, record, problem)
        return self._line(number, dict(zip(self.header, cells, strict=True)))

    def _line(self, number: int, fields: dict[str, Any]) -> Line:
        try:
            messages = fields.get("messages")
            if messages is not None:
                fields["messages"] = json.loads(messages)
        except ValueError as error:
            line = self.rules.line(number, fields)
            return evolve(line, problem=f"its messages are not JSON: {error}")
        return self.rules.line(number, fields)

    def _checked(self, names: list[str]) -> list[str]:
        """Return the names of the columns, ours as they are written here."""
        names = [name.strip() for name in names]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            msg = f"the header names {doubled[0]!r} twice; give each column a name of its own"
            raise UsageError(msg)
        for ours in ("prompt", "messages", *IDS):
            alike = [at for at, name in enumerate(names) if name.lower() == ours]
            if ours not in names and len(alike) == 1:
                names[alike[0]] = ours
        self._check_columns(names)
        return names

    def _check_columns(self, names: list[str]) -> None:
        columns = ", ".join(names)
        for wanted, option in (
            (self.rules.prompt_field, "--prompt-column"),
            (self.rules.id_field, "--id-column"),
        ):
            if wanted is not None and wanted not in names:
                msg = f"{option}: there is no column {wanted!r}; the columns are {columns}"
                raise UsageError(msg)
        given = self.rules.template or self.rules.prompt_field
        if not given and not {"prompt", "messages"} & set(names):
            msg = (
                f"no column is called prompt or messages; the columns are {columns}. Give "
                f'--prompt-column "{names[-1]}", or --template with text and {{{names[-1]}}} in it'
            )
            raise UsageError(msg)


def _text_of(record: bytes) -> tuple[str, str | None]:
    """Return the text of a record, or what is wrong with it."""
    if b"\0" in record:
        return "", "it has zero bytes, as UTF-16 without its mark has; save the file as UTF-8"
    try:
        return record.decode("utf-8"), None
    except UnicodeDecodeError as error:
        return "", f"not UTF-8: byte {error.start + 1} {error.reason}"


def _unreadable(number: int, raw: bytes, problem: str) -> Line:
    text = raw.decode("utf-8", "backslashreplace")
    return Line(number=number, item_id=stand_in(number), fields={}, text=text, problem=problem)


def _fields(count: int) -> str:
    return f"{count} field" if count == 1 else f"{count} fields"


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is no number in JSON"
    raise ValueError(msg)


def _finite(digits: str) -> float:
    # The row is written again with its answer, and infinity is no JSON.
    number = float(digits)
    if math.isinf(number):
        shown = digits if len(digits) <= 40 else f"{digits[:40]}…"
        msg = f"{shown} is larger than any number that a double can hold; give it as a text"
        raise ValueError(msg)
    return number


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "text"
        case list():
            return "list"
        case _:
            return "number"
