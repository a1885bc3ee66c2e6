"""Durations and moments as servers write them, in seconds. Garbage is ``None``, never an error."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

__all__ = [
    "LONGEST",
    "epoch_of",
    "parse_duration",
    "parse_moment",
    "parse_number",
    "parse_units",
]

LONGEST: Final = 31 * 86_400.0
"""Seconds to which a longer duration is cut; by then a scope is parked in any case."""

_UNITS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # micro sign
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3_600.0,
}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_MOST_CHARACTERS: Final = 64
_EPOCH_SECONDS: Final = 1e9
"""No server asks for a wait of 30 years: from here on a number is a moment, in seconds."""
_EPOCH_MILLISECONDS: Final = 1e11


def parse_number(text: str) -> float | None:
    """Read a plain decimal number without a sign or an exponent."""
    text = text.strip()
    if len(text) <= _MOST_CHARACTERS and _NUMBER.fullmatch(text):
        return float(text)
    return None


def parse_duration(text: str) -> float | None:
    """Read a Go duration such as ``"1m47.5854s"``; a bare number means seconds.

    Returns:
        Seconds from 0 to ``LONGEST``, or ``None`` where *text* is no duration.
    """
    number = parse_number(text)
    return parse_units(text) if number is None else min(number, LONGEST)


def parse_units(text: str) -> float | None:
    """Read a duration in which each number has its unit; as :func:`parse_duration` for the rest."""
    text = text.strip()
    if not text or len(text) > _MOST_CHARACTERS:
        return None
    total, size = 0.0, 0
    for number, unit in _PART.findall(text):
        total += float(number) * _UNITS[unit]
        size += len(number) + len(unit)
    return min(total, LONGEST) if size == len(text) else None


def parse_moment(text: str) -> float | None:
    """Read an HTTP date or an RFC 3339 time as seconds since the epoch; no zone means UTC."""
    text = text.strip()
    if len(text) > _MOST_CHARACTERS:
        return None
    from email.utils import parsedate_to_datetime  # few replies have a date that needs it

    try:
        moment = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def epoch_of(number: float) -> float | None:
    """Return the moment that *number* is, in seconds since 1970; ``None`` if it is a duration.

    Servers write moments in seconds or in milliseconds.
    """
    if number < _EPOCH_SECONDS:
        return None
    return number / 1000 if number >= _EPOCH_MILLISECONDS else number
