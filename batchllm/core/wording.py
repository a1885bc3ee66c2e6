"""Words of messages: what kind of thing a value is, numbers of things, and sums of money."""

from __future__ import annotations

from typing import Final

__all__ = ["a_or_an", "as_clock", "counted", "dollars", "kind_of"]

_LEAST: Final = 0.000_001
"""US dollars; a single token of the cheapest models costs less."""

# By sound, as far as names of types go: "an LLMModel", but "a UserDict".
_AN = ("a", "e", "i", "o", "llm", "html", "http")


def a_or_an(noun: str) -> str:
    """*noun* with its article: ``"an int"``, ``"a str"``."""
    return f"{'an' if noun.lower().startswith(_AN) else 'a'} {noun}"


def kind_of(value: object) -> str:
    """Return what *value* is, for a message: ``"an int"``, ``"None"`` or ``"the class Gate"``."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return a_or_an(type(value).__name__)


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number of things: ``"1 line"``, ``"2,000 lines"``.

    Args:
        number: How many there are.
        one: The word for one of them.
        many: The word for several, if it is not the same with an s.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def as_clock(seconds: float, *, unit: bool = False) -> str:
    """Return a length of time as a clock shows it: ``"1:05"``, ``"2:00:09"``.

    Args:
        seconds: The time.
        unit: Whether the unit of the first number follows: ``"1:05 min"``, ``"2:00:09 h"``.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    shown, name = (f"{hours}:{minutes:02}", "h") if hours else (f"{minutes}", "min")
    return f"{shown}:{rest:02} {name}" if unit else f"{shown}:{rest:02}"


def dollars(cost: float) -> str:
    """Return US dollars as a price is written: ``"$4.20"``, ``"$0.000125"``."""
    if cost >= 1 or cost == 0:
        return f"${cost:,.2f}"
    if cost < _LEAST:
        return f"less than ${_LEAST:.6f}"
    cents, rest = f"{cost:.6f}"[:4], f"{cost:.6f}"[4:]
    return f"${cents}{rest.rstrip('0')}"
