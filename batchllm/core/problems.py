"""The kinds of trouble that a journal can be in, as words for programs."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["JournalProblem"]

JournalProblem: TypeAlias = Literal[
    "changed",
    "corrupt",
    "foreign",
    "full",
    "in_use",
    "io",
    "locked",
    "missing",
    "newer",
    "read_only",
    "unreadable_output",
    "unserialisable",
]
"""The kinds of trouble that a journal can be in; ``JournalError.problem`` is one of them."""
