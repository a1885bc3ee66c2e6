"""Middleware that is ready: keep secrets out of prompts, leave items out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from attrs import evolve

from batchllm.core import SKIP, BaseMiddleware, ConfigError, LLMWorkItem

__all__ = ["RedactingMiddleware", "SkippingMiddleware"]

_USUAL: Final[Mapping[str, str]] = {
    "email": r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "key": r"\b(?:sk|pk|rk|ghp|gho|xox[abp])[-_][A-Za-z0-9_-]{16,}|\bAIza[A-Za-z0-9_-]{30,}",
    "card": r"\b\d(?:[ -]?\d){12,18}\b",
}


# Where messages and parts have text. What else they have, such as an image, is no prose.
_TEXTS: Final = frozenset({"content", "text"})


class RedactingMiddleware(BaseMiddleware):
    """Replaces what matches a pattern in an item's prompt by the pattern's name in brackets.

    It reaches every text of a prompt: a plain one, those of chat messages and of content parts.
    If it fails, its item fails, and nothing is sent.

    Example::

        RedactingMiddleware({"customer": r"C-[0-9]{6}"})

    Args:
        patterns: Regular expressions by name. By default e-mail addresses, API keys of common
            shapes and long card-like numbers, which is no complete list of what may be secret.

    Raises:
        ConfigError: A pattern is no regular expression.
    """

    def __init__(self, patterns: Mapping[str, str | re.Pattern[str]] = _USUAL) -> None:
        self.patterns = {name: _compiled(name, pattern) for name, pattern in patterns.items()}

    async def before_process(self, work_item: LLMWorkItem[Any, Any, Any]) -> Any:
        """The item with its prompt redacted."""
        return evolve(work_item, prompt=self.redacted(work_item.prompt))

    def redacted(self, value: Any) -> Any:
        """*value*, a prompt or a part of one, with every text in it redacted."""
        if isinstance(value, str):
            for name, pattern in self.patterns.items():
                value = pattern.sub(f"[{name}]", value)
            return value
        if isinstance(value, Mapping):
            fields = cast("Mapping[str, Any]", value)
            return {
                key: self.redacted(part) if key in _TEXTS else part for key, part in fields.items()
            }
        if isinstance(value, list | tuple):
            return [self.redacted(part) for part in cast("list[Any]", value)]
        return value


def _compiled(name: str, pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        msg = f"the pattern {name!r} is no regular expression: {error}"
        raise ConfigError(msg) from error


class SkippingMiddleware(BaseMiddleware):
    """Leaves out the items for which a condition holds; their results say ``skipped``.

    Example::

        SkippingMiddleware(lambda item: not item.prompt.strip())

    Args:
        condition: Called with each item before its first call.
    """

    def __init__(self, condition: Callable[[LLMWorkItem[Any, Any, Any]], bool]) -> None:
        self.condition = condition

    async def before_process(self, work_item: LLMWorkItem[Any, Any, Any]) -> Any:
        """``SKIP`` where the condition holds."""
        return SKIP if self.condition(work_item) else None
