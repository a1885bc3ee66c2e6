"""Prompts made of a row's fields: ``"Translate into {language}: {text}"``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from string import Formatter
from typing import Any

from attrs import frozen

from batchllm.cli.exits import UsageError

__all__ = ["MissingFieldError", "Template"]

_LITERAL = "write {{ and }} for braces that are meant as such"


class MissingFieldError(Exception):
    """A row lacks a field that the template names."""


@frozen
class Template:
    """A text with ``{field}`` placeholders.

    Attributes:
        parts: Pairs of a literal text and the field that follows it, ``None`` at the end.
    """

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template.

        Raises:
            UsageError: It cannot be read as a template, or names no field.
        """
        try:
            pieces = list(Formatter().parse(text))
        except ValueError as error:
            msg = f"--template: {error}; {_LITERAL}"
            raise UsageError(msg) from None
        parts: list[tuple[str, str | None]] = []
        for literal, name, form, conversion in pieces:
            if name is not None and (not name.strip() or form or conversion):
                shown = (
                    f"{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}"
                )
                msg = f"--template: {{{shown}}} is no {{field}}; {_LITERAL}"
                raise UsageError(msg)
            parts.append((literal, None if name is None else name.strip()))
        if all(name is None for _, name in parts):
            msg = "--template names no {field}, so that every prompt would be the same"
            raise UsageError(msg)
        return cls(tuple(parts))

    def fill(self, fields: Mapping[str, Any]) -> str:
        """The prompt for a row; values that are no texts are written as JSON.

        Raises:
            MissingFieldError: The row lacks a field.
        """
        missing = [name for _, name in self.parts if name is not None and name not in fields]
        if missing:
            there = ", ".join(fields) or "none"
            msg = f"no field {missing[0]!r} for the template; its fields: {there}"
            raise MissingFieldError(msg)
        return "".join(
            literal + ("" if name is None else _as_text(fields[name]))
            for literal, name in self.parts
        )


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
