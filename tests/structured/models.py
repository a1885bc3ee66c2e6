"""Output types that the tests share."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import Annotated, Generic, Literal, NotRequired, TypedDict, TypeVar

import attrs
import msgspec

T = TypeVar("T")


class Colour(enum.Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Address:
    """Where someone lives."""

    street: str
    number: int
    lines: list[str] = attrs.field(factory=list)


@attrs.define
class Person:
    """A person."""

    name: str = attrs.field(
        validator=attrs.validators.min_len(1), metadata={"description": "the full name"}
    )
    age: int = attrs.field(validator=attrs.validators.ge(0))
    address: Address | None = None
    nick: str = "none"
    _secret: bool = False
    computed: int = attrs.field(init=False, default=3)


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0
    tags: set[str] = dataclasses.field(default_factory=set)
    when: dt.date | None = None
    area: float = dataclasses.field(init=False, default=0.0, repr=False)


class Movie(TypedDict):
    title: str
    year: NotRequired[int]
    colour: Colour


@attrs.frozen
class Cat:
    kind: Literal["cat"]
    lives: int


@attrs.frozen
class Dog:
    kind: Literal["dog"]
    lives: int
    tricks: tuple[str, ...] = ()


@attrs.frozen
class Zoo:
    animals: list[Cat | Dog]
    names: dict[str, Point] = attrs.field(factory=dict)
    pair: tuple[int, Point] | None = None


@attrs.frozen
class Add:
    left: Add | Times | int
    right: Add | Times | int


@attrs.frozen
class Times:
    left: Add | Times | int
    right: Add | Times | int


@attrs.frozen
class Box(Generic[T]):
    content: T
    others: list[T] = attrs.field(factory=list)
    note: str = ""


@attrs.frozen
class Bounded:
    items: Annotated[list[Cat], msgspec.Meta(min_length=1, description="at least one")]
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    table: Annotated[dict[str, Cat], msgspec.Meta(max_length=1)] = attrs.field(factory=dict)
