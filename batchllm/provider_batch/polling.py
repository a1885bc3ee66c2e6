"""The pace of polls: pure, with time as an argument."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["LONGEST_HINT", "poll_delay", "within"]

_FIRST, _QUICK, _MIDDLE, _SLOW = 10.0, 60.0, 300.0, 600.0
_HALF_AN_HOUR, _SIX_HOURS = 1_800.0, 21_600.0
LONGEST_HINT: Final = 3_600.0
"""Seconds of a ``retry-after`` for which a call that costs nothing waits at most: one in an hour is
no burden, and a header that is wrong must not end the polls."""
_URGENT: Final = 30.0
_JITTER: Final = 0.2


def poll_delay(
    age: float, rng: random.Random, *, hint: float | None = None, urgent: bool = False
) -> float:
    """Return the seconds until the next poll.

    Half of the age again, so that what takes a minute is noticed within one and what takes a day
    within ten: polls grow with the logarithm of the time.

    Args:
        age: Seconds since the youngest batch was created.
        rng: For the jitter, so that a thousand clients that started together do not stay together.
        hint: Seconds that the provider asks to wait, also with an answer that is good.
        urgent: Whether the end, or a deadline, is near.
    """
    if age < _HALF_AN_HOUR:
        delay = min(max(_FIRST, age / 2), _QUICK)
    elif age < _SIX_HOURS:
        delay = min(_QUICK + (age - _HALF_AN_HOUR) / 2, _MIDDLE)
    else:
        delay = min(_MIDDLE + (age - _SIX_HOURS) / 2, _SLOW)
    if urgent:
        delay = min(delay, _URGENT)
    delay *= 1 + rng.uniform(-_JITTER, _JITTER)
    return max(delay, within(hint))


def within(hint: float | None, most: float = LONGEST_HINT) -> float:
    """Return the seconds of a hint that are waited: 0 without one, and *most* of a longer one."""
    return min(hint or 0.0, most)
