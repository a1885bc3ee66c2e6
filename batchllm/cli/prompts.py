"""The fields of a row as an item: by which rules an id and a prompt are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import frozen

__all__ = [
    "IDS",
    "Line",
    "MissingFieldError",
    "PromptRules",
    "stand_in",
    "unused_settings",
]

IDS = ("id", "item_id")
"""Fields that are the id of a row unless an option names another."""
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
        names = ("custom_id", *IDS) if fields.keys() >= _BATCH_FIELDS else IDS
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


def stand_in(number: int) -> str:
    """Return the id of a row that gives none."""
    return f"line-{number}"
