"""Prompts made of a row's fields: ``"Translate into {language}: {text}"``, or a Jinja template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from jinja2 import StrictUndefined, Undefined, UndefinedError
from jinja2.exceptions import TemplateError, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import SandboxedEnvironment

from batchllm.cli.exits import UsageError
from batchllm.cli.prompts import MissingFieldError

__all__ = ["Template"]

_FIELD = re.compile(r"\{([^{}]*)\}")
_PATH = re.compile(r"[^\W\d]\w*(\.\w+|\[-?\d+\])*\Z")
_ROW = "row"
"""The name under which a template of Jinja has the whole row: ``{{ row["my text"] }}``."""

_LITERAL = "if a brace is meant as such, write fields as {{ name }}: then others stand as they are"


class _Environment(SandboxedEnvironment):
    """Jinja for prompts: strict about unknown fields, values that are no texts as JSON."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Prefer what a row has under a name to a method of ``dict``, such as ``items``."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def _as_text(value: Any) -> Any:
    """Return *value* as it stands in a prompt."""
    if isinstance(value, str | Undefined):  # the latter raises once it is written
        return value
    return json.dumps(value, ensure_ascii=False)


_JINJA = _Environment(
    undefined=StrictUndefined, finalize=_as_text, keep_trailing_newline=True, autoescape=False
)


@frozen
class Template:
    """A text with places for fields.

    Attributes:
        text: As the user wrote it.
        names: The fields that it names.
    """

    text: str
    names: frozenset[str]
    _compiled: Any = field(repr=False, eq=False)

    @classmethod
    def parse(cls, text: str, option: str = "--template") -> Template:
        """Read a template.

        With ``{{`` or ``{%`` in it, it is one of Jinja, in which single braces are text.
        Otherwise ``{name}`` is a field, ``{author.name}`` one in it, ``{tags[0]}`` one of a list.

        Args:
            text: The template.
            option: Where it was given, for messages.

        Raises:
            UsageError: It is not a template, or it names no field.
        """
        is_jinja = "{{" in text or "{%" in text
        source = text if is_jinja else _as_jinja(text, option)
        try:
            names = find_undeclared_variables(_JINJA.parse(source))
            compiled = _JINJA.from_string(source)
        except TemplateSyntaxError as error:
            msg = f"{option}: {error.message} (in line {error.lineno}); {_LITERAL}"
            raise UsageError(msg) from None
        if not names:
            msg = f"{option} names no field, so that every prompt would be the same"
            raise UsageError(msg)
        return cls(text, frozenset(names), compiled)

    def fill(self, fields: Mapping[str, Any]) -> str:
        """Return the prompt for a row.

        Raises:
            MissingFieldError: The row lacks a field, or the template cannot be used on it.
        """
        try:
            filled: str = self._compiled.render({_ROW: fields, **fields})
        except UndefinedError as error:
            raise MissingFieldError(_missing(str(error.message), fields)) from None
        except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError) as error:
            msg = f"the template cannot be filled: {error}"
            raise MissingFieldError(msg) from None
        return filled


def _as_jinja(text: str, option: str) -> str:
    """Translate ``{name}`` into Jinja.

    Raises:
        UsageError: A brace is not part of such a place.
    """
    stray = _FIELD.sub("", text)
    if "{" in stray or "}" in stray:
        msg = f"{option}: a brace without its other one; {_LITERAL}"
        raise UsageError(msg)
    return _FIELD.sub(lambda match: _place(match[1].strip(), option), text)


def _place(name: str, option: str) -> str:
    if name.isidentifier():
        return f"{{{{ {name} }}}}"
    if not name or any(letter in name for letter in "\"'\\:!"):
        msg = f"{option}: {{{name}}} is not a {{field}}; {_LITERAL}"
        raise UsageError(msg)
    whole = f'{_ROW}["{name}"]'
    # Flat tables have dots in the names of their columns, nested rows have none.
    return f'{{{{ {whole} if "{name}" in {_ROW} else {name if _PATH.match(name) else whole} }}}}'


def _missing(message: str, fields: Mapping[str, Any]) -> str:
    there = ", ".join(map(str, fields)) or "none"
    # Of a value that is no object Jinja says "'None' has no attribute 'name'".
    found = re.match(r"'(?:[^']+' has no attribute ')?([^']+)'(?: is undefined)?$", message)
    what = f"no field {found[1]!r}" if found else message
    return f"{what} for the template; its fields: {there}"
