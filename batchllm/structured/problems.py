"""Problems of an answer, field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

from attrs import frozen

from batchllm.core import TokenUsage

__all__ = ["MISSING", "OutputValidationError", "Problem"]


class _Missing(Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING
"""Stands where there is no value at all, which JSON's ``null`` is not."""


@frozen
class Problem:
    """One thing that is wrong with an answer.

    Attributes:
        path: Where, such as ``address.lines[0]``; empty for the answer as a whole.
        message: What is wrong, and what was expected.
        value: What stood there; ``MISSING`` where nothing did or where it is not known.
    """

    path: str
    message: str
    value: Any = MISSING

    def __str__(self) -> str:
        return f"{self.path or 'the answer'}: {self.message}"


class OutputValidationError(ValueError):
    """An answer is not the JSON that was asked for, or does not fit the output type.

    Attributes:
        text: The answer as it came.
        value: What could be read of it as JSON, cut short where it was; ``None`` if nothing.
        problems: What is wrong, field by field.
        valid: The top-level fields that are right, as JSON has them.
        usage: Tokens that the answer cost, where the caller has put them here.
    """

    usage: TokenUsage | None = None

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        value: Any = None,
        problems: Sequence[Problem] = (),
        valid: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.text = text
        self.value = value
        self.problems = tuple(problems)
        self.valid = dict(valid or {})
