"""The circuit breaker of one quota scope: whether its endpoint answers at all.

It watches for *rows*: failures of the connection or the server with no answer between them. A row
of twenty different items is taken for an outage, as long as items that were never tried are left
to be protected. So are ten failures in a row to connect to an endpoint that has answered before,
since no request is at fault for those: a server that is started anew. Then nothing is sent but one
canary at a time, until one is answered or the endpoint is given up. Every attempt that fails in
such a row is given back to its item, so an outage costs none.

It is pure: ``now`` is seconds on any monotonic clock. It knows nothing of quotas; what a server
says about waiting is the rate limiter's.

    at = breaker.next_time(now, in_flight)      # <= now: send; inf: ask again after the next report
    canary = breaker.on_send(now)               # 0, or the number of the canary
    breaker.on_answer(now, canary)              # whatever came back, the endpoint lives
    row = breaker.on_failure(now, item, canary, untried_left=True)
    breaker.on_silence(now, canary)             # the call ended and says nothing about the endpoint
    breaker.look(now)                           # at `give_up_at`, where that is finite

``row.verdict`` says, at once or later, whether the failure counts for the item.
"""

from __future__ import annotations

from enum import Enum
from math import inf, log2
from typing import Final

from attrs import define, field

from batchllm.policy.events import (
    OUTAGE,
    EndpointDown,
    GateEvent,
    OutageEnded,
    OutageStarted,
    PauseLengthened,
)

__all__ = ["FailureRow", "OutageBreaker", "Verdict"]

_ROW: Final = 20
"""Different items that have to fail in a row. At a share of failing items of one half, twenty in
a row come once in a million; a dead endpoint gives them within a second or two."""
_UNCONNECTED: Final = 10
"""Failures to connect in a row, of any items, to an endpoint that answered before. Few enough that
ten items under way have not all failed three times by then, and enough that one connection in
five that fails by chance stops nothing: ten in a row come once in ten million."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 20.0
"""Seconds between canaries: they double, and the longest is what a recovery can be late by."""
_NEVER_ANSWERED: Final = 60.0
"""Seconds after which an endpoint that never gave an answer is given up: a wrong address, a
server that was not started."""
_FIRST_CALLS: Final = 5
_DOUBLING: Final = 1.0
"""After an outage the calls in flight begin with 5 and double every second: 500 are reached in 7
seconds, and a server that has just come back is not met by all at once."""
_RECOVERED: Final = 16.0
"""Seconds of that, after which it allows 300,000 calls in flight: more than there are."""


class Verdict(Enum):
    """The verdict on a row of failures."""

    PENDING = "pending"
    COUNTS = "counts"
    GIVEN_BACK = "given_back"


@define(eq=False)
class FailureRow:
    """Failures of one scope with no answer between them.

    Attributes:
        since: When the first of them failed.
        verdict: Whether they count for their items; it is decided once.
        unconnected: Those among them that could not connect.
    """

    since: float
    verdict: Verdict = Verdict.PENDING
    unconnected: int = 0
    _items: set[object] = field(factory=set, init=False, repr=False)

    def add(self, item: object) -> None:
        """Count *item*, once."""
        if len(self._items) < _ROW:
            self._items.add(item)

    @property
    def items(self) -> int:
        """Return how many different items are in it, counted up to what makes an outage."""
        return len(self._items)

    def decide(self, verdict: Verdict) -> None:
        """Settle what its failures mean."""
        if self.verdict is Verdict.PENDING:
            self.verdict = verdict
            self._items.clear()


class OutageBreaker:
    """Decides for one quota scope whether its endpoint answers; see the module's page.

    Args:
        outage_after: Seconds without an answer after which the endpoint is given up; infinity
            for never. One that never answered is given up after 60 s already.

    Attributes:
        calm: Whether the last call to be judged was answered, so that an answer changes nothing.
        free: Whether nothing holds a call back; kept, since every call asks for it.
        open: Whether the endpoint does not answer, so that only canaries go.
        down: Whether it was given up; canaries go on, but no call waits for them.
        events: What happened and was not drained yet.
        give_up_at: When ``look`` has to be called; infinity while there is no need.
    """

    __slots__ = (
        "_answered",
        "_canaries",
        "_canary_at",
        "_last_chance",
        "_next_at",
        "_outage_after",
        "_pause",
        "_reason",
        "_recovering_since",
        "_row",
        "calm",
        "down",
        "events",
        "free",
        "give_up_at",
        "open",
    )

    def __init__(self, outage_after: float = 600.0) -> None:
        self._outage_after = outage_after
        self._answered = False
        self._row: FailureRow | None = None
        self._canaries = 0
        self._canary_at: float | None = None
        self._next_at = 0.0
        self._pause = _FIRST_PAUSE
        self._last_chance = False
        self._reason = ""
        self._recovering_since: float | None = None
        self.events: list[GateEvent] = []
        self.calm = False
        self.free = True
        self.open = False
        self.down = False
        self.give_up_at = inf

    @property
    def since(self) -> float | None:
        """The instant when the outage began, while there is one."""
        return self._row.since if self.open and self._row is not None else None

    @property
    def until(self) -> float:
        """The instant when the next canary is due; infinity while one is on its way."""
        return self._next_at if self._canary_at is None else inf

    def next_time(self, now: float, in_flight: int) -> float:
        """Return the earliest instant for the next call beside *in_flight* others.

        While the endpoint does not answer, that call is the canary. ``inf`` means that only the
        next report can decide.
        """
        if not self.open:
            return self._recovery_time(now, in_flight)
        if self._last_chance and not self.down:
            return inf
        # A canary that hangs must not hide that the network is back: another one goes beside it.
        at = self._next_at if self._canary_at is None else self._canary_at + _LONGEST_PAUSE
        return max(now, at if self.down else min(at, self._deadline))

    def on_send(self, now: float) -> int:
        """Note a call; return the number of the canary that it is, or 0."""
        if not self.open:
            return 0
        self._canaries += 1
        self._canary_at = now
        if now >= self._deadline and not self.down:
            self._last_chance = True
            self.give_up_at = now + _LONGEST_PAUSE
        return self._canaries

    def on_answer(self, now: float, canary: int = 0) -> None:
        """Note that the endpoint answered, whatever it said."""
        self._answered = self.calm = True
        row, self._row = self._row, None
        if row is not None:
            row.decide(Verdict.COUNTS)
        if self.open and row is not None:
            # An answer to a call from before shows that there was no outage: nothing to spare.
            self._recovering_since = now if canary else None
            self.open = self.down = self._last_chance = False
            self.free = self._recovering_since is None
            self._canary_at, self.give_up_at = None, inf
            self.events.append(OutageEnded(at=now, length=now - row.since))

    def on_failure(
        self,
        now: float,
        item: object,
        canary: int = 0,
        *,
        untried_left: bool,
        unconnected: bool = False,
        reason: str = "",
    ) -> FailureRow:
        """Note that a call of *item* got no answer.

        Args:
            now: When it failed.
            item: Whose call it was; several calls of one item count once.
            canary: What ``on_send`` returned for it.
            untried_left: Whether there are items that were never called. Without any, a breaker
                would protect nothing and only keep those that fail from their own retries.
            unconnected: Whether it failed since no connection could be made.
            reason: What it failed with, in words, for the events.

        Returns:
            The row that it belongs to.
        """
        self._reason, self.calm = reason, False
        row = self._row
        if row is None:
            row = self._row = FailureRow(now)
        if not self.open:
            row.add(item)
            row.unconnected += unconnected
            gone = self._answered and row.unconnected >= _UNCONNECTED
            if gone or (row.items >= _ROW and untried_left):
                self._begin(now, row)
        elif self._is_current(canary):
            self._canary_failed(now)
        return row

    def suspects(self, row: FailureRow) -> bool:
        """Return whether *row* may be an outage though no item is left that was never tried."""
        return self._answered and row.unconnected > 0

    def on_silence(self, now: float, canary: int) -> None:
        """Note a call whose end says nothing, such as a cancelled one: another canary may go."""
        if self._is_current(canary):
            self._canary_at = None
            self._next_at = now
            if self._last_chance:
                self._last_chance = False
                self.give_up_at = inf

    def look(self, now: float) -> None:
        """Give the endpoint up if its last chance is over."""
        if now >= self.give_up_at:
            self._give_up(now)

    def drain_events(self) -> list[GateEvent]:
        """Return what happened since this was last called, oldest first."""
        events, self.events = self.events, []
        return events

    @property
    def _deadline(self) -> float:
        allowed = self._outage_after
        if not self._answered:
            allowed = min(allowed, _NEVER_ANSWERED)
        return inf if self._row is None else self._row.since + allowed

    def _is_current(self, canary: int) -> bool:
        # Of several canaries only the latest plans the next: the others were taken for lost.
        return bool(canary) and canary == self._canaries and self._canary_at is not None

    def _begin(self, now: float, row: FailureRow) -> None:
        failures = max(row.items, row.unconnected)
        row.decide(Verdict.GIVEN_BACK)
        self.open, self.free = True, False
        self._recovering_since = None
        self._pause = _FIRST_PAUSE
        self._next_at = now + self._pause
        until = min(self._next_at, max(now, self._deadline))
        started = OutageStarted(
            at=now, since=row.since, failures=failures, until=until, reason=self._reason
        )
        self.events.append(started)

    def _canary_failed(self, now: float) -> None:
        self._canary_at = None
        before, self._pause = self._pause, min(_LONGEST_PAUSE, 2 * self._pause)
        self._next_at = now + self._pause
        if self._last_chance:
            self._give_up(now)
        elif self._pause > before and not self.down:
            until = min(self._next_at, self._deadline)
            self.events.append(PauseLengthened(at=now, cause=OUTAGE, until=until, hinted=False))

    def _give_up(self, now: float) -> None:
        self.down = True
        self._last_chance = False
        self.give_up_at = inf
        self._canary_at = None
        self._next_at = now + _LONGEST_PAUSE
        since = now if self._row is None else self._row.since
        down = EndpointDown(
            at=now, length=now - since, answered=self._answered, reason=self._reason
        )
        self.events.append(down)

    def _recovery_time(self, now: float, in_flight: int) -> float:
        since = self._recovering_since
        if since is None:
            return now
        if now - since >= _RECOVERED:
            self._recovering_since, self.free = None, True
            return now
        if in_flight < _FIRST_CALLS * 2.0 ** ((now - since) / _DOUBLING):
            return now
        # The next whole call fits a moment after the curve has passed those in flight.
        return max(now, since + _DOUBLING * log2((in_flight + 0.01) / _FIRST_CALLS))
