"""A record of input, read: the item that it stands for, or what is wrong with it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol, cast

from attrs import define, evolve, field, frozen

from batchllm.cli.exits import UsageError
from batchllm.cli.formats import InputFormat
from batchllm.cli.records import RowSplitter, fields_of

__all__ = [
    "Line",
    "LineReader",
    "MissingFieldError",
    "PromptRules",
    "Reader",
    "TableReader",
    "ValueReader",
    "unused_settings",
]

_IDS = ("id", "item_id")
_BATCH_FIELDS = frozenset({"custom_id", "body"})
"""Fields that show a line of OpenAI's batch files."""


_NO_FIELD = "no "
"""Problems that begin like this are about a field that is not there."""


class MissingFieldError(Exception):
    """A row lacks a field that the template names, or has something there that cannot be used."""


class _Filler(Protocol):
    def fill(self, fields: Mapping[str, Any]) -> str: ...


@frozen(kw_only=True)
class Line:
    """One record that is not blank.

    Attributes:
        number: That of its line, counted from 1, blank lines included.
        item_id: The row's own id, else ``line-`` and the line's number, which no plain number
            given as an id can be taken for.
        own_id: The id that the row gives; ``None`` if it gives none.
        prompt: A text or a list of chat messages.
        fields: What the row had, for the output.
        text: The record itself, if it could not be read as a row.
        problem: Why it cannot be sent; ``None`` for a line that can.
        lacks_field: True if it has no field for the prompt or the id.
    """

    number: int
    item_id: Any
    own_id: Any = None
    prompt: Any = None
    fields: Mapping[str, Any]
    text: str | None = None
    problem: str | None = None
    lacks_field: bool = False


@frozen
class PromptRules:
    """Rules by which the fields of a row become an id and a prompt.

    Attributes:
        template: Makes the prompt of the fields.
        prompt_field: The field that is the prompt, in place of ``prompt`` or ``messages``.
        id_field: The field that is the id, in place of ``id`` or ``item_id``.
    """

    template: _Filler | None = None
    prompt_field: str | None = None
    id_field: str | None = None

    def line(self, number: int, fields: Mapping[str, Any]) -> Line:
        """Return the line for a row."""
        own, problem = self._id_of(fields)
        prompt = None
        if problem is None:
            prompt, problem = self._prompt_of(fields)
        return Line(
            number=number,
            item_id=stand_in(number) if own is None else own,
            own_id=own,
            prompt=prompt,
            fields=fields,
            problem=problem,
            lacks_field=problem is not None and problem.startswith(_NO_FIELD),
        )

    def _id_of(self, fields: Mapping[str, Any]) -> tuple[Any, str | None]:
        if self.id_field is not None:
            if self.id_field not in fields:
                return None, f"no field {self.id_field!r} for --id-column; {_there(fields)}"
            return fields[self.id_field], None
        names = ("custom_id", *_IDS) if fields.keys() >= _BATCH_FIELDS else _IDS
        return next((fields[name] for name in names if name in fields), None), None

    def _prompt_of(self, fields: Mapping[str, Any]) -> tuple[Any, str | None]:
        if self.template is not None:
            try:
                return _unless_blank(self.template.fill(fields))
            except MissingFieldError as error:
                return None, str(error)
        if self.prompt_field is not None:
            if self.prompt_field not in fields:
                return None, f"no field {self.prompt_field!r} for --prompt-column; {_there(fields)}"
            return _unless_blank(fields[self.prompt_field])
        if fields.keys() >= _BATCH_FIELDS:
            return _prompt_of_request(fields["body"])
        if "prompt" in fields and "messages" in fields:
            return None, 'both "prompt" and "messages"; give one of them'
        if "prompt" not in fields and "messages" not in fields:
            return None, (
                f'no "prompt" or "messages"; {_there(fields)}; give --prompt-column with one of '
                "them, or --template"
            )
        return _unless_blank(fields["prompt"] if "prompt" in fields else fields["messages"])


def _unless_blank(prompt: Any) -> tuple[Any, str | None]:
    if isinstance(prompt, str) and not prompt.strip():
        return None, "its prompt is blank"
    return prompt, None


def _prompt_of_request(body: Any) -> tuple[Any, str | None]:
    """Return the prompt of a request as OpenAI's batch files have it."""
    for name in ("messages", "input"):
        if isinstance(body, Mapping) and name in body:
            return _unless_blank(body[name])
    return None, 'its "body" has no "messages" or "input"'


def unused_settings(line: Line) -> list[str]:
    """Return what a request of OpenAI's batch files sets beside its prompt, and is not sent."""
    body = line.fields.get("body")
    if not line.fields.keys() >= _BATCH_FIELDS or not isinstance(body, Mapping):
        return []
    return [str(name) for name in body if name not in ("messages", "input")]


def _there(fields: Mapping[str, Any]) -> str:
    return f"its fields: {', '.join(map(str, fields)) or 'none'}"


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
    rules: PromptRules = PromptRules()

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

    rules: PromptRules = PromptRules()

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
    rules: PromptRules = PromptRules()
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
        for ours in ("prompt", "messages", *_IDS):
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


def stand_in(number: int) -> str:
    """Return the id of a row that gives none."""
    return f"line-{number}"


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
