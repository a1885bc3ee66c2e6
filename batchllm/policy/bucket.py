"""A known limit: pacing from the schedule, and a ledger of what was sent.

Two rules hold at once, for a limit of ``L_q`` units in any window of ``q`` seconds:

* pacing: ``at = max(at, now - tau) + cost * (q + J + tau) / L_q``; a call may start once
  ``now >= at``. Counting from the schedule and not from the send keeps the pace of a loop that
  wakes late; spacing the starts also keeps within servers that store hardly any burst.
* ledger: the cost of all starts of the last ``q + J + tau`` seconds stays within ``L_q``.

A request arrives up to ``J`` seconds later than the fastest one, so starts of ``q + J`` seconds
may arrive within one window of ``q``: either rule alone bounds what arrives in any window,
wherever the server lets its windows begin. Inside, time is integer nanoseconds, and the schedule
is kept in units of 1/L_q of them, so that nothing drifts however long a run is.
"""

from __future__ import annotations

from math import inf, isfinite
from typing import Any, Final, Literal, NoReturn, get_args

from attrs import Attribute, define, field, frozen

from batchllm.core import CallCost, ConfigError, explain_arguments
from batchllm.policy.ledger import Ledger

__all__ = ["PACED_UP_TO", "Bucket", "Limit", "LimitDimension", "Reservation", "Settlement"]

LimitDimension = Literal["requests", "tokens", "input_tokens", "output_tokens"]
Settlement = Literal["refund", "keep", "input_only"]

_SECOND: Final = 1_000_000_000
_SLACK: Final = 1_000
"""Nanoseconds by which floats may round an instant down; inside the tolerance of every claim."""
PACED_UP_TO: Final = 3600.0
"""Seconds; a longer window (a day) is a stock to draw from, not a pace to keep."""
_REQUEST_TOLERANCE: Final = 0.02
_TOKEN_TOLERANCE: Final = 2.0


_GRAINS: Final = 4096
"""Entries of a ledger per window; each gives its units back together, up to 1/4096 too late."""
_LONGEST: Final = 400 * 86_400.0
"""Seconds. Allowances are by the month or the year at the longest; more is a slip of the pen."""


def _fail(attribute: Attribute[Any], value: object, remedy: str) -> NoReturn:
    msg = f"Limit.{attribute.name} is {value!r}; give {remedy}"
    raise ConfigError(msg)


def _is_number(value: object) -> bool:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    return right and isfinite(value)  # type: ignore[arg-type]


def _known(instance: object, attribute: Attribute[Any], value: object) -> None:
    if value not in get_args(LimitDimension):
        _fail(attribute, value, ", ".join(map(repr, get_args(LimitDimension))))


def _whole(instance: object, attribute: Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        _fail(attribute, value, "a whole number of at least 1; for less, make per longer")


def _seconds(instance: object, attribute: Attribute[Any], value: Any) -> None:
    if value is None and attribute.name == "window":
        return
    if value is None or not (_is_number(value) and 0 < value <= _LONGEST):
        _fail(attribute, value, f"seconds above 0, at most {_LONGEST:g} (400 days)")


def _not_negative(instance: object, attribute: Attribute[Any], value: Any) -> None:
    if not (_is_number(value) and 0 <= value <= _LONGEST):
        _fail(attribute, value, f"seconds from 0 to {_LONGEST:g}")


@explain_arguments()
@frozen
class Limit:
    """At most *amount* units of *dimension* per *per* seconds.

    Attributes:
        dimension: What is counted.
        amount: How much of it.
        per: Seconds that *amount* refers to.
        window: Seconds over which the server enforces it, where that is less than *per*
            (10 for the requests of Azure). The amount is shared out in proportion.
        jitter: Seconds by which the way to the server may vary.

    Raises:
        ConfigError: One has a value that cannot work; it is named, with what to give.
    """

    dimension: LimitDimension = field(validator=_known)
    amount: int = field(validator=_whole)
    per: float = field(default=60.0, kw_only=True, validator=_seconds)
    window: float | None = field(default=None, kw_only=True, validator=_seconds)
    jitter: float = field(default=0.5, kw_only=True, validator=_not_negative)

    @property
    def enforced(self) -> tuple[int, float]:
        """The units that fit into one window, and the window's seconds."""
        window = min(self.window or self.per, self.per)
        units = int(self.amount * window / self.per + 1e-9)
        return (units, window) if units else (self.amount, self.per)

    def cost_of(self, cost: CallCost) -> int:
        """Return what *cost* takes of this dimension."""
        return getattr(cost, self.dimension)  # type: ignore[no-any-return]


@define(eq=False)
class Reservation:
    """The share of one bucket that one call holds until it is settled or released."""

    bucket: Bucket
    cost: int
    entry: int
    serial: int
    schedule_before: int
    settled: bool = False

    def settle(self, actual: CallCost | None) -> None:
        """End the call, which cost *actual*; ``None`` where that is unknown."""
        self.bucket.settle(self, actual)

    def release(self) -> None:
        """Take the call back, whose bytes never left."""
        self.bucket.release(self)


class Bucket:
    """Keeps one ``Limit``. Live state, for one limit and one clock.

    Args:
        limit: What to keep.
        settlement: How tokens are booked: ``"refund"`` gives unused ones back when a call
            ends, ``"keep"`` never does (Azure), ``"input_only"`` charges no output (Gemini).
        grains: Entries of the ledger per window at most; fewer give used units back later.
    """

    __slots__ = (
        "_at", "_last", "_ledger", "_origin", "_serial", "_span", "_step", "_tolerance", "_units",
        "limit", "paced", "settlement",
    )  # fmt: skip

    def __init__(
        self, limit: Limit, *, settlement: Settlement = "refund", grains: int = _GRAINS
    ) -> None:
        units, window = limit.enforced
        tolerance = _REQUEST_TOLERANCE if limit.dimension == "requests" else _TOKEN_TOLERANCE
        slack = _REQUEST_TOLERANCE + 2 * _SLACK / _SECOND
        self.limit = limit
        self.settlement = settlement
        self._units = units
        self.paced = window <= PACED_UP_TO
        self._span = round((window + limit.jitter + slack) * _SECOND)
        self._tolerance = round(tolerance * _SECOND)
        self._step = self._span  # one unit, in 1/units of a nanosecond
        self._at: int | None = None
        self._ledger = Ledger(round(window * _SECOND / grains))
        self._serial = 0
        self._origin: float | None = None
        self._last = 0

    @property
    def held(self) -> int:
        """The units that the ledger counts now: reserved, or used within the window."""
        return self._ledger.total

    def used(self, now: float) -> float:
        """The share of a window's units that the ledger counts at *now*."""
        self._ledger.forget(self._clock(now) - self._span)
        return self._ledger.total / self._units

    def cost_of(self, cost: CallCost) -> int:
        """The units that *cost* takes of this limit under its rule of settlement."""
        if self.settlement == "input_only" and self.limit.dimension == "tokens":
            return cost.input_tokens
        return self.limit.cost_of(cost)

    def oversize(self, cost: CallCost) -> bool:
        """Return whether *cost* is more than one window ever holds."""
        return self.cost_of(cost) > self._units

    def next_time(self, now: float, cost: CallCost) -> float:
        """The earliest instant from *now* on when *cost* may start; ``inf`` if it never fits."""
        units = self.cost_of(cost)
        if units > self._units:
            return inf
        if units == 0:
            return now
        clock = self._clock(now)
        at = clock if self._at is None or not self.paced else -(-self._at // self._units)
        at = max(at, self._ledger_allows(clock, units))
        return now if at <= clock + _SLACK else self._instant(at)

    def take(self, now: float, cost: CallCost) -> Reservation:
        """Book *cost* as started at *now*, which is ``next_time`` or later."""
        units = self.cost_of(cost)
        entry, before = self._book(now, units)
        self._serial += 1
        return Reservation(self, units, entry, self._serial, before)

    def _book(self, now: float, units: int) -> tuple[int, int]:
        """Return the entry of the ledger, and the schedule as it was before."""
        clock = self._clock(now)
        floor = (clock - self._tolerance) * self._units
        before = floor if self._at is None or self._at < floor else self._at
        self._at = before + units * self._step
        return self._ledger.book(clock, units), before

    def settle(self, reservation: Reservation, actual: CallCost | None) -> None:
        """End a call that cost *actual*; ``None`` where that is unknown and all is kept."""
        self._end(reservation)
        if actual is None or self.limit.dimension == "requests":
            return
        difference = self.cost_of(actual) - reservation.cost
        if difference > 0 or self.settlement != "keep":
            self._correct(reservation, difference)

    def release(self, reservation: Reservation) -> None:
        """Take back a call whose bytes provably never left."""
        self._end(reservation)
        if self.limit.dimension == "requests":
            # A gap in the middle of the line stays: closing it would put two starts together.
            self._ledger.change(reservation.entry, -reservation.cost)
            if reservation.serial == self._serial:
                self._at = reservation.schedule_before
        else:
            self._correct(reservation, -reservation.cost)

    def resize(self, limit: Limit) -> bool:
        """Go on with another amount for the same window; returns whether it is another."""
        units, _ = limit.enforced
        if limit == self.limit:
            return False
        if self._at is not None:
            self._at = self._at * units // self._units
        self.limit, self._units = limit, units
        self._serial += 1
        return True

    # -- for a bucket whose calls are made by others ----------------------------------------

    def book(self, now: float, cost: CallCost) -> None:
        """Book *cost* as ``take`` does, for a call that is corrected by its instant alone."""
        self._book(now, self.cost_of(cost))

    def correct(self, instant: float, difference: int) -> None:
        """Book *difference* units more for what was taken at *instant*; negative for less.

        What the ledger does not know any more, or never did, is not given back.
        """
        clock = round((instant - (self._origin or 0.0)) * _SECOND)
        entry = self._ledger.taken_at(clock, _SLACK)
        if entry is None:
            difference = max(0, difference)
        else:
            number, taken = entry
            difference = max(-taken, difference)
            self._ledger.change(number, difference)
        if self._at is not None:
            self._at += difference * self._step

    def dump(self) -> dict[str, Any]:
        """Return the state as plain values; ``load`` takes it in again."""
        # As text: a schedule counts in 1/units of a nanosecond, which 64 bits may not hold.
        at = None if self._at is None else str(self._at)
        ledger = self._ledger.dump()
        return {
            "at": at,
            "origin": self._origin,
            "last": self._last,
            "ledger": ledger,
            "total": self._ledger.total,
        }

    def load(self, state: dict[str, Any], *, shift: float = 0.0) -> None:
        """Go on from what ``dump`` returned.

        Args:
            state: Of a bucket for the same limit.
            shift: Seconds that the clock has been put forward since.
        """
        self._at = None if state["at"] is None else int(state["at"])
        self._origin = None if state["origin"] is None else state["origin"] + shift
        self._last = state["last"]
        self._ledger.load(state["ledger"], state["total"])

    def _end(self, reservation: Reservation) -> None:
        if reservation.settled:
            msg = "This reservation has ended already; each one is settled or released once."
            raise ValueError(msg)
        reservation.settled = True

    def _correct(self, reservation: Reservation, difference: int) -> None:
        self._ledger.change(reservation.entry, difference)
        if self._at is not None:
            self._at += difference * self._step

    def _ledger_allows(self, clock: int, units: int) -> int:
        """The instant when *units* more fit into the ledger."""
        ledger = self._ledger
        ledger.forget(clock - self._span)
        excess = ledger.total + units - self._units
        if excess <= 0:
            return clock
        last = ledger.frees(excess)
        return clock if last is None else last + self._span

    def _clock(self, now: float) -> int:
        if self._origin is None:
            self._origin = now
        clock = round((now - self._origin) * _SECOND)
        if clock > self._last:
            self._last = clock
        return self._last

    def _instant(self, at: int) -> float:
        return (self._origin or 0.0) + at / _SECOND
