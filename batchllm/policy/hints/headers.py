"""The waits and limits in the headers of a reply, as a ``ServerHint``.

Everything here is total: any text may come, nothing is raised, and garbage counts as silence.
Waits are finite, above 0 and at most ``LONGEST``. Of several fields that ask for a wait the most
exact one counts, of one field that came several times the longest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from attrs import define, field

from batchllm.core import LimitHint, ServerHint
from batchllm.policy.hints.durations import (
    LONGEST,
    epoch_of,
    parse_moment,
    parse_number,
    parse_units,
)
from batchllm.policy.hints.names import Group, Wait, places_in

__all__ = ["ReplyClock", "read_headers"]

_MINUTE: Final = 60.0
_DAY: Final = 86_400.0
_MOST: Final = 10**15
_MOST_DIGITS: Final = 15
_MOST_VALUES: Final = 8
"""Values of one header that are read; who sends it more often says nothing."""
_LONGEST_KEPT: Final = 64
"""Characters of a limit that is kept, its amount, rest and reset; they have up to 40."""
# A comma also stands after the weekday of an HTTP date, which is followed by the day.
_SEPARATOR: Final = re.compile(r",\s*(?![0-9]{1,2}[ -][A-Za-z])")


@define(eq=False)
class ReplyClock:
    """The moment of a reply: its own ``Date`` header, so that our clock may be wrong.

    Args:
        headers: Names in any case.
        fallback: The local wall clock, in seconds since 1970, for a reply without ``Date``.
    """

    headers: Mapping[str, str]
    fallback: float | None
    _now: float | None = field(default=None, init=False)
    _read: bool = field(default=False, init=False)

    @property
    def now(self) -> float | None:
        """Seconds since 1970, ``None`` if there is neither ``Date`` nor a local clock."""
        if not self._read:
            self._read = True
            date = next((v for k, v in self.headers.items() if k.lower() == "date"), "")
            written = next(filter(None, map(parse_moment, _values(date))), None)
            self._now = self.fallback if written is None else written
        return self._now

    def seconds_until(self, moment: float) -> float | None:
        """Return the seconds to *moment*, ``None`` if it is over or no clock is there."""
        return None if self.now is None else positive(moment - self.now)


def read_headers(headers: Mapping[str, str], *, now_wall: float | None = None) -> ServerHint | None:
    """Read the headers of any reply; cheap if they say nothing.

    Args:
        headers: Names in any case; the values of a repeated one joined by commas.
        now_wall: Seconds since 1970, for absolute times in a reply without ``Date``.

    Returns:
        The hint, or ``None`` if the headers say nothing. ``wait`` is set only by headers that ask
        for a wait; a limit that is used up is reported in ``limits``.
    """
    places = places_in(tuple(headers))
    if places is None:
        return None
    clock = ReplyClock(headers, now_wall)
    wait = _wait(places.waits, clock) if places.waits else None
    limits = tuple([one for group in places.groups if (one := _limit(group, clock)) is not None])
    retry = None
    if places.retry is not None:
        retry = {"true": True, "false": False}.get(headers[places.retry].strip().lower())
    if wait is None and not limits and retry is None:
        return None
    return ServerHint(wait=wait, limits=limits, retry=retry)


def positive(seconds: float | None) -> float | None:
    """Return a wait that can be meant, cut to ``LONGEST``; ``None`` for any other."""
    return min(seconds, LONGEST) if seconds is not None and seconds > 0 else None


def _values(text: str) -> Iterator[str]:
    """Split a header that came more than once; most did not, and have no comma."""
    if "," not in text:
        yield text
        return
    for count, value in enumerate(_SEPARATOR.split(text[:1_024])):
        if count == _MOST_VALUES:
            return
        yield value


def _wait(waits: tuple[tuple[str, Wait], ...], clock: ReplyClock) -> float | None:
    for name, place in waits:
        values = _values(clock.headers[name])
        read = (_one_wait(value, place.milliseconds, clock) for value in values)
        longest = max(filter(None, read), default=None)
        if longest is not None:
            return longest
    return None


def _one_wait(text: str, milliseconds: bool, clock: ReplyClock) -> float | None:
    if milliseconds:
        number = parse_number(text)
        return None if number is None else positive(number / 1000)
    return positive(_seconds(text, clock))


def _seconds(text: str, clock: ReplyClock) -> float | None:
    """Read a duration, a date, or a moment as a number, as seconds from the reply on."""
    number = parse_number(text)
    if number is None:
        return _written(text, clock)
    epoch = epoch_of(number)
    if epoch is not None and clock.now is not None and abs(epoch - clock.now) <= LONGEST:
        return clock.seconds_until(epoch)
    return min(number, LONGEST)


def _written(text: str, clock: ReplyClock) -> float | None:
    """Read a duration or a date that is no bare number, as seconds from the reply on."""
    seconds = parse_units(text)
    if seconds is not None:
        return seconds
    moment = parse_moment(text)
    return None if moment is None else clock.seconds_until(moment)


def _limit(group: Group, clock: ReplyClock) -> LimitHint | None:
    headers = clock.headers
    amount = None if group.amount is None else headers[group.amount]
    remaining = None if group.remaining is None else headers[group.remaining]
    reset = "" if group.reset is None else headers[group.reset]
    is_short = len(amount or "") + len(remaining or "") + len(reset) <= _LONGEST_KEPT
    if is_short and _duration(reset) is not None:
        return _kept_limit(group, amount, remaining, reset)
    return _read_limit(group, amount, remaining, reset, _reset(reset, clock))


# Texts come from the server: these are bounded, and so are the texts. The limits of which little is
# used are the same in most replies, and resets have some dozen values.


def _read_duration(text: str) -> float | None:
    """Return the seconds of a reset, 0 if it says nothing; ``None`` if it needs a clock."""
    number = parse_number(text)
    if number is None:
        return 0.0 if not text.strip() else parse_units(text)
    return min(number, LONGEST) if epoch_of(number) is None else None


_duration: Final = lru_cache(maxsize=256)(_read_duration)


@lru_cache(maxsize=256)
def _kept_limit(
    group: Group, amount: str | None, remaining: str | None, reset: str
) -> LimitHint | None:
    return _read_limit(group, amount, remaining, reset, positive(_duration(reset)))


def _read_limit(
    group: Group,
    amount_text: str | None,
    remaining_text: str | None,
    reset_text: str,
    reset: float | None,
) -> LimitHint | None:
    """Return the limit that the texts of its headers say; ``None`` if they say nothing."""
    place = group.place
    amount = None if amount_text is None else _count(amount_text)
    if (amount is None and amount_text is not None) or amount == 0:
        return None  # Azure's -1 beside a reset of 0 means "no such limit"
    remaining = None if remaining_text is None else _count(remaining_text)
    if remaining is None and amount is not None and _is_overdrawn(remaining_text or ""):
        remaining = 0
    if amount is None and remaining is None and reset is None:
        return None
    per = place.per
    if place.infers and amount is not None and reset is not None:
        per = _period(amount, remaining, reset, reset_text)
    # What is no multiple of the rounding was not rounded: some who use these names do not.
    margin = place.margin if remaining is not None and remaining % 1_000 == 0 else 0
    if remaining is not None:
        remaining = max(0, remaining - margin)
        if amount is not None:
            remaining = min(remaining, amount)
    return LimitHint(
        dimension=place.dimension,
        amount=amount,
        per=None if amount is None else per,
        remaining=remaining,
        reset=reset,
        name=place.limit,
        source="headers",
        assumed=not place.stated,
        resolution=_resolution(reset_text),
        margin=margin,
    )


def _count(text: str) -> int | None:
    """Read a number of units; of several the least, which is the safe one."""
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:  # nearly always
        return int(text)
    # "100, 100;w=60" is how drafts of a standard write a limit and its window.
    numbers = [parse_number(value.partition(";")[0]) for value in _values(text)]
    least = None if None in numbers else min((n for n in numbers if n is not None), default=None)
    return int(least) if least is not None and least <= _MOST else None


def _is_overdrawn(text: str) -> bool:
    """Return whether *text* says that more was taken than there was.

    LiteLLM counts tokens when it has answered, and goes below nothing; -1 may mean "no limit".
    """
    number = parse_number(text.strip().removeprefix("-"))
    return text.strip().startswith("-") and number is not None and number > 1


def _reset(text: str, clock: ReplyClock) -> float | None:
    if "," not in text:
        return positive(_one_reset(text, clock))
    resets = (positive(_one_reset(value, clock)) for value in _values(text))
    return max((reset for reset in resets if reset is not None), default=None)


def _one_reset(text: str, clock: ReplyClock) -> float | None:
    seconds = _read_duration(text)
    if seconds is not None:
        return seconds
    number = parse_number(text)
    moment = parse_moment(text) if number is None else epoch_of(number)
    return None if moment is None else clock.seconds_until(moment)


def _resolution(text: str) -> float:
    """Return the seconds by which a reset may be cut off: whole seconds, or as it is written."""
    written = text.strip()
    if written.isdigit() or (written.endswith("Z") and "." not in written):
        return 1.0
    return 0.001


def _period(amount: int, remaining: int | None, reset: float, text: str) -> float | None:
    """Distinguish a limit per day from one per minute, which bear the same names.

    Groq counts requests per day, and so does OpenAI for small accounts. A bucket that refills
    steadily gives its period away: the reset grows by period/amount with each use. A minute
    cannot be over a minute away, so a far reset is a day or unknown; a near one that would fit
    a day is unknown.
    """
    used = amount - (remaining or 0)
    refill = reset * amount / used if used > 0 else 0.0
    fits_a_day = 0.9 * _DAY <= refill <= 1.1 * _DAY
    if reset > _MINUTE + 1:
        return _DAY if fits_a_day or reset > 3600 else None
    return None if fits_a_day and not text.strip().isdigit() else _MINUTE
