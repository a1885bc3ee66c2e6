"""One line of input, read: the item that it stands for, or what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, cast

from attrs import frozen

from batchllm.cli.templates import MissingFieldError, Template

__all__ = ["InputFormat", "Line", "LineReader"]

InputFormat = Literal["jsonl", "text"]


@frozen(kw_only=True)
class Line:
    """One line that is not blank.

    Attributes:
        number: Counted from 1, blank lines included.
        item_id: The row's own ``id``, else ``line-`` and the line's number, which no plain
            number given as an id can be taken for.
        prompt: A text or a list of chat messages.
        fields: What the row had, for the output.
        text: The line itself, where it could not be read as a row.
        problem: Why it cannot be sent; ``None`` for a line that can.
        named: If the id is the row's own, and no number of ours.
    """

    number: int
    item_id: Any
    prompt: Any = None
    fields: Mapping[str, Any]
    text: str | None = None
    problem: str | None = None
    named: bool = False


@frozen
class LineReader:
    """Reads lines of one format.

    Args:
        format: ``"jsonl"``: a JSON object per line; ``"text"``: a prompt per line.
        template: Makes the prompt of the row's fields.
    """

    format: InputFormat
    template: Template | None = None

    def read(self, number: int, raw: bytes) -> Line | None:
        """Read one line; ``None`` if it is blank."""
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw.strip():
            return None
        raw = raw.rstrip(b"\r\n")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            return _unreadable(number, raw, f"not UTF-8: byte {error.start + 1} {error.reason}")
        if self.format == "text":
            return self._with_prompt(number, {"prompt": text})
        try:
            row: Any = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        except json.JSONDecodeError as error:
            problem = f"not JSON: {error.msg} at column {error.colno}"
            return _unreadable(number, raw, problem)
        except ValueError as error:
            return _unreadable(number, raw, f"not JSON: {error}")
        except RecursionError:
            return _unreadable(number, raw, "not JSON that can be read: it is nested too deeply")
        if not isinstance(row, dict):
            problem = f'a JSON {_kind_of(row)} and not an object; give {{"prompt": …}}'
            return _unreadable(number, raw, problem)
        return self._with_prompt(number, cast("dict[str, Any]", row))

    def _with_prompt(self, number: int, fields: dict[str, Any]) -> Line:
        item_id = fields["id"] if "id" in fields else _stand_in(number)
        prompt, problem = self._prompt_of(fields)
        return Line(
            number=number,
            item_id=item_id,
            prompt=prompt,
            fields=fields,
            problem=problem,
            named="id" in fields,
        )

    def _prompt_of(self, fields: dict[str, Any]) -> tuple[Any, str | None]:
        if self.template is not None:
            try:
                return self.template.fill(fields), None
            except MissingFieldError as error:
                return None, str(error)
        if "prompt" in fields and "messages" in fields:
            return None, 'both "prompt" and "messages"; give one of them'
        if "prompt" not in fields and "messages" not in fields:
            there = ", ".join(fields) or "none"
            return None, f'no "prompt" or "messages" (its fields: {there}); or give --template'
        prompt = fields.get("prompt", fields.get("messages"))
        if isinstance(prompt, str) and not prompt.strip():
            return None, "its prompt is blank"
        return prompt, None


def _unreadable(number: int, raw: bytes, problem: str) -> Line:
    text = raw.decode("utf-8", "backslashreplace")
    return Line(number=number, item_id=_stand_in(number), fields={}, text=text, problem=problem)


def _stand_in(number: int) -> str:
    return f"line-{number}"


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
