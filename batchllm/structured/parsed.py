"""The result of reading an answer."""

from __future__ import annotations

from typing import Generic, TypeVar

from attrs import frozen

__all__ = ["Parsed"]

T = TypeVar("T")


@frozen
class Parsed(Generic[T]):
    """An output, with what was changed in the answer to get it.

    Attributes:
        output: The value of the output type.
        notes: Sentences for the result's metadata; none if nothing was changed.
    """

    output: T
    notes: tuple[str, ...] = ()
