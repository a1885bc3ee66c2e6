"""Validators of settings, whose messages name the field, the value and the remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NoReturn

from attrs import Attribute

from batchllm.core.errors import ConfigError

__all__ = [
    "FASTEST_PER_MINUTE",
    "SLOWEST_PER_MINUTE",
    "Check",
    "number",
    "one_of",
    "per_minute",
    "refuse",
    "refuse_contradiction",
    "switch",
]

SLOWEST_PER_MINUTE: Final = 1 / (366 * 1440)
"""One a year. Allowances by the month are the slowest that are sold; less than this is a slip."""
FASTEST_PER_MINUTE: Final = 1e12
"""More than any provider sells, and a million times what one process can send; ``None`` says that
there is no limit."""


Check = Callable[[Any, "Attribute[Any]", Any], None]


def refuse(instance: Any, attribute: Attribute[Any], value: object, remedy: str) -> NoReturn:
    msg = f"{type(instance).__name__}.{attribute.name} is {value!r}; give {remedy}"
    raise ConfigError(msg)


def refuse_contradiction(instance: Any, name: str, ceiling: str, why: str) -> NoReturn:
    low, high = getattr(instance, name), getattr(instance, ceiling)
    msg = (
        f"{type(instance).__name__}.{name} is {low!r} and {ceiling} is {high!r}; give {ceiling} "
        f"of at least {low:g}, or lower {name}, {why}"
    )
    raise ConfigError(msg)


def number(
    *,
    above: float | None = None,
    least: float = -math.inf,
    most: float = math.inf,
    none: str = "",
    whole: bool = False,
) -> Check:
    kind = "a whole number" if whole else "a number"
    bound = f" of at least {least:g}" if above is None else f" above {above:g}"
    bound += "" if most == math.inf else f" and at most {most:g}"
    remedy = f"{kind}{bound}" + (f", or None {none}" if none else "")

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if value is None:
            if none:
                return
            refuse(instance, attribute, value, remedy)
        right_type = isinstance(value, int if whole else int | float)
        if isinstance(value, bool) or not right_type or not -math.inf < value < math.inf:
            refuse(instance, attribute, value, remedy)
        if not least <= value <= most or (above is not None and value <= above):
            refuse(instance, attribute, value, remedy)

    return check


def one_of(kinds: type | tuple[type, ...], remedy: str) -> Check:
    def check(instance: Any, attribute: Attribute[Any], value: object) -> None:
        if not isinstance(value, kinds):
            refuse(instance, attribute, value, remedy)

    return check


switch = one_of(bool, "True or False")


def per_minute(what: str) -> Check:
    none = f"for no such limit on {what}"
    positive = number(above=0, none=none)
    sensible = number(least=SLOWEST_PER_MINUTE, most=FASTEST_PER_MINUTE, none=none)

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        positive(instance, attribute, value)  # its words suit the mistake that is made most
        sensible(instance, attribute, value)

    return check
