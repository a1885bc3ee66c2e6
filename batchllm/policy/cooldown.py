"""The pauses of one quota scope: one pause for all calls, one canary, then on.

A scope is *open*, *judging* (nothing is sent until a refusal is understood), *closed* until an
instant, trying one *canary*, or *parked*. How fast it goes on is decided elsewhere: pace and
limits stay in force.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf, isfinite
from random import Random
from typing import Final

from attrs import Attribute, define, field, frozen

__all__ = ["Cause", "Cooldown", "CooldownPolicy", "Parked", "Pauses", "State"]

_FIRST: Final = 1.0
_CALLS: Final = 4
"""A first pause of our own is four calls long at the present pace, so that a slow quota has
something to give when it ends."""
_FIRST_MOST: Final = 10.0
_LONGEST: Final = 20.0
"""Seconds: with its spread the longest pause that is not asked for by a server is 24 s."""
_SPREAD: Final = 0.2
"""The share by which a pause of our own is varied at random, so that clients part."""
_OVERLOAD_FIRST: Final = 0.5
_OVERLOAD_LONGEST: Final = 24.0
"""Seconds, as for any pause that is not asked for by a server."""


class State(StrEnum):
    """The state of a quota scope."""

    OPEN = "open"
    JUDGING = "judging"
    CLOSED = "closed"
    CANARY = "canary"
    PARKED = "parked"


# Looked up once: Python 3.11 takes 0.4 µs for a member of an enum, and every call asks for these.
_OPEN: Final = State.OPEN
_CLOSED: Final = State.CLOSED


class Cause(StrEnum):
    """The reason why a quota scope pauses or is parked."""

    THROTTLED = "throttled"
    OVERLOADED = "overloaded"
    EXHAUSTED = "exhausted"
    HINT_TOO_LONG = "hint_too_long"
    NOTHING_ACCEPTED = "nothing_accepted"
    CANARIES_REFUSED = "canaries_refused"
    QUOTA_SPENT = "quota_spent"


def _check_positive(instance: object, attribute: Attribute[float], value: float) -> None:
    if not (isfinite(value) and value > 0):
        msg = f"CooldownPolicy.{attribute.name} must be a positive number, not {value!r}."
        raise ValueError(msg)


@frozen(kw_only=True)
class CooldownPolicy:
    """A fixed policy: pause exactly so long, then start slowly in one line, without a canary.

    Attributes:
        first: Seconds of the first pause.
        multiplier: By how much each further refusal in a row prolongs it.
        longest: Seconds that no pause of ours exceeds.
        slow_start_items: Starts after a pause that are spaced by a falling delay; 0 for none.
        slow_start_initial: Seconds between the first two of them.
        slow_start_final: Seconds between the last two of them.
        refused_in_a_row: Refusals without a success in between that park the scope.
    """

    first: float = field(default=300.0, validator=_check_positive)
    multiplier: float = field(default=1.5, validator=_check_positive)
    longest: float = field(default=600.0, validator=_check_positive)
    slow_start_items: int = 50
    slow_start_initial: float = 2.0
    slow_start_final: float = 0.1
    refused_in_a_row: int = 10

    def pause(self, refusals: int) -> float:
        """Return the seconds to wait after *refusals* in a row, the first being 1."""
        exponent = min(refusals - 1, 64)
        return min(self.longest, self.first * self.multiplier**exponent)

    def slow_start_delay(self, started: int) -> float:
        """Return the seconds between start number *started* (from 1) after a pause and the next."""
        if started > self.slow_start_items:
            return 0.0
        share = (started - 1) / max(1, self.slow_start_items - 1)
        return self.slow_start_initial + share * (self.slow_start_final - self.slow_start_initial)


@frozen
class Parked:
    """A scope that waits no longer: why, and until which instant if that is known."""

    cause: Cause
    until: float | None = None


def overload_pause(refusals: int, rng: Random, longest: float = _OVERLOAD_LONGEST) -> float:
    """Return the seconds to wait after *refusals* by an overloaded server: full jitter."""
    return rng.uniform(0, min(longest, _OVERLOAD_FIRST * 2.0 ** min(refusals, 64)))


@define(eq=False)
class Pauses:
    """The state that the pauses of every policy have. Live state."""

    state: State = field(default=State.OPEN, init=False)
    cause: Cause | None = field(default=None, init=False)
    until: float = field(default=-inf, init=False)
    parked: Parked | None = field(default=None, init=False)
    episodes: int = field(default=0, init=False)
    begun: float = field(default=-inf, init=False)

    def park(self, cause: Cause, until: float | None) -> bool:
        """Wait no longer, since the quota will not come back soon; returns whether that is new."""
        if self.parked is not None:
            return False
        self.parked = Parked(cause, until)
        self.state = State.PARKED
        self.cause = cause
        return True


@define(eq=False)
class Cooldown(Pauses):
    """The pauses of one scope that adapts. Live state; owned by the limiter, not by a call.

    Args:
        rng: Where the spread of pauses comes from.
    """

    rng: Random
    canaries_refused: int = field(default=0, init=False)
    overloads: int = field(default=0, init=False)
    _own: float | None = field(default=None, init=False)
    _canary_at: float = field(default=-inf, init=False)

    @property
    def free(self) -> bool:
        """Return whether nothing holds a call back and nothing will until a call fails."""
        return self.state is _OPEN

    @property
    def consecutive(self) -> int:
        """Refusals in a row, each of a call that was sent after the last pause."""
        return self.canaries_refused + (self.state is not State.OPEN)

    def next_time(self, now: float, patience: float) -> float:
        """Return the earliest instant for the next start; ``inf`` if only a reply can show it."""
        match self.state:
            case State.OPEN:
                return now
            case State.CLOSED | State.JUDGING:
                return max(now, self.until)
            case State.CANARY:
                return max(now, self._canary_at + patience)
            case _:
                return inf

    def judge(self, now: float, cause: Cause, until: float) -> None:
        """Send nothing until *until*, when it is known what a refusal means."""
        self.state = State.JUDGING
        self.cause = cause
        self.begun = now
        self.until = until
        self.canaries_refused = 0
        self._own = None

    def close(self, until: float) -> None:
        """Pause until *until*; then one call goes alone."""
        self.state = State.CLOSED
        self.until = until
        self.episodes += 1

    def own_pause(self, pace: float | None) -> float:
        """Return the seconds of a pause that no server asked for: a first one, or twice the last.

        Args:
            pace: Calls per second before it; ``None`` if none is known.
        """
        if self.cause is Cause.OVERLOADED:
            self.overloads += 1
            return overload_pause(self.overloads, self.rng)
        if self._own is None:
            self._own = _FIRST if pace is None else min(_FIRST_MOST, max(_FIRST, _CALLS / pace))
        else:
            self._own = min(_LONGEST, 2 * self._own)
        return self._spread(self._own)

    def refused_again(self, now: float, hinted_until: float, pace: float | None) -> None:
        """Pause longer, since the canary was refused.

        Args:
            now: When.
            hinted_until: The latest instant that a server asked to wait for.
            pace: Calls per second before the pause; ``None`` if none is known.
        """
        self.canaries_refused += 1
        self.state = State.CLOSED
        self.until = max(hinted_until, now + self.own_pause(pace))

    def lengthen(self, until: float) -> bool:
        """Pause until *until* at least; returns whether that is longer."""
        if self.state is not State.CLOSED or until <= self.until:
            return False
        self.until = until
        return True

    def shorten(self, until: float) -> None:
        """Pause no longer than until *until*."""
        self.until = min(self.until, until)

    def on_send(self, now: float) -> bool:
        """Note a start; returns whether it is the canary."""
        if self.state is _CLOSED:
            self.state = State.CANARY
            self._canary_at = now
            return True
        return False

    def on_canary_lost(self, now: float) -> None:
        """Note that the canary ended without an answer: another one may go at once."""
        if self.state is State.CANARY:
            self.state = State.CLOSED
            self.until = now

    def resume(self) -> None:
        """Open the scope again."""
        if self.state is not State.PARKED:
            self.state = State.OPEN

    def forgive(self) -> None:
        """Note a success: the next overload is the first one again."""
        self.overloads = 0

    def reopen(self, now: float) -> None:
        """Leave the parked state; the next call is a canary."""
        if self.parked is not None:
            self.parked = None
            self.state = State.CLOSED
            self.begun = self.until = now
            self._own = _FIRST
            self.overloads = 0

    def _spread(self, pause: float) -> float:
        return pause * self.rng.uniform(1 - _SPREAD, 1 + _SPREAD)
