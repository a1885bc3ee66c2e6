"""Prompts of every shape, with a text added at their end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

__all__ = ["with_text"]


def with_text(prompt: Any, text: str) -> Any:
    """*prompt* followed by *text*, in the shape that it has.

    Args:
        prompt: A text, a list of chat messages or a list of content parts.
        text: Becomes a paragraph, a message of the user or a content part.
    """
    if isinstance(prompt, str):
        return f"{prompt}\n\n{text}"
    entries = list(cast("Sequence[Mapping[str, Any]]", prompt))
    if entries and "role" in entries[0]:
        return [*entries, {"role": "user", "content": text}]
    return [*entries, {"type": "text", "text": text}]
