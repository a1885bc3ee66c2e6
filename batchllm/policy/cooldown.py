"""What a quota scope does after it was refused: one pause for all, one canary, then go on.

The scope is *open*, *closed* until an instant, trying one *canary*, or *parked*. A refusal belongs
to the episode in which its call was sent, so a herd that is refused together counts once. The
first call after a pause is a canary: it goes alone, and only when it has not been refused for a
while does the rest follow. How fast is not decided here: pace and limits stay in force.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf, isfinite
from random import Random

from attrs import Attribute, field, frozen

__all__ = ["Cause", "Cooldown", "CooldownPolicy", "Parked", "State"]


class State(StrEnum):
    """Where a quota scope stands."""

    OPEN = "open"
    CLOSED = "closed"
    CANARY = "canary"
    PARKED = "parked"


class Cause(StrEnum):
    """Why a quota scope paused."""

    THROTTLED = "throttled"
    OVERLOADED = "overloaded"
    BREAKER = "breaker"
    EXHAUSTED = "exhausted"
    HINT_TOO_LONG = "hint_too_long"
    CANARIES_REFUSED = "canaries_refused"
    QUOTA_SPENT = "quota_spent"


def _check_positive(instance: object, attribute: Attribute[float], value: float) -> None:
    if not (isfinite(value) and value > 0):
        msg = f"CooldownPolicy.{attribute.name} must be a positive number, not {value!r}."
        raise ValueError(msg)


@frozen(kw_only=True)
class CooldownPolicy:
    """How long to pause when the server does not say, and how to go on.

    The default is adaptive: a second, doubled for every refused canary up to twenty.

    Attributes:
        first: Seconds of the first pause.
        multiplier: By how much each further refusal in a row prolongs it.
        longest: Seconds that no pause of ours exceeds.
        spread: The share by which a pause is varied at random, so that clients part.
        patience: Seconds after which a canary that has not been refused counts as accepted.
        canaries: Whether one call goes alone after a pause.
        slow_start_items: Starts after a pause that are spaced by a falling delay; 0 for none.
        slow_start_initial: Seconds between the first two of them.
        slow_start_final: Seconds between the last two of them.
        overload_first: Scale in seconds of the random pause after an overload.
        overload_longest: Seconds that no pause after an overload exceeds without a hint.
        refused_in_a_row: Refused canaries in a row (without canaries: refusals without a success
            in between) that park the scope.
    """

    first: float = field(default=1.0, validator=_check_positive)
    multiplier: float = field(default=2.0, validator=_check_positive)
    longest: float = field(default=20.0, validator=_check_positive)
    spread: float = 0.2
    patience: float = field(default=1.0, validator=_check_positive)
    canaries: bool = True
    slow_start_items: int = 0
    slow_start_initial: float = 2.0
    slow_start_final: float = 0.1
    overload_first: float = field(default=0.5, validator=_check_positive)
    overload_longest: float = field(default=60.0, validator=_check_positive)
    refused_in_a_row: int = 10

    @classmethod
    def fixed(
        cls,
        *,
        cooldown_seconds: float = 300.0,
        backoff_multiplier: float = 1.5,
        max_cooldown_seconds: float = 600.0,
        slow_start_items: int = 50,
        slow_start_initial_delay: float = 2.0,
        slow_start_final_delay: float = 0.1,
    ) -> CooldownPolicy:
        """Pause exactly so long, then start slowly in one line, without a canary."""
        return cls(
            first=cooldown_seconds,
            multiplier=backoff_multiplier,
            longest=max(cooldown_seconds, max_cooldown_seconds),
            spread=0.0,
            canaries=False,
            slow_start_items=slow_start_items,
            slow_start_initial=slow_start_initial_delay,
            slow_start_final=slow_start_final_delay,
        )

    def pause(self, refusals: int, rng: Random) -> float:
        """Seconds to wait after *refusals* in a row, the first being 1."""
        exponent = min(refusals - 1, 64)
        wait = min(self.longest, self.first * self.multiplier**exponent)
        return wait * rng.uniform(1 - self.spread, 1 + self.spread) if self.spread else wait

    def overload_pause(self, refusals: int, rng: Random) -> float:
        """Seconds to wait after *refusals* by an overloaded server: full jitter."""
        exponent = min(refusals, 64)
        return rng.uniform(0, min(self.overload_longest, self.overload_first * 2.0**exponent))

    def slow_start_delay(self, started: int) -> float:
        """Seconds between start number *started* (from 1) after a pause and the next."""
        if started > self.slow_start_items:
            return 0.0
        share = (started - 1) / max(1, self.slow_start_items - 1)
        return self.slow_start_initial + share * (self.slow_start_final - self.slow_start_initial)


@frozen
class Parked:
    """A scope that waits for no one: why, and until which instant where that is known."""

    cause: Cause
    until: float | None = None


class Cooldown:
    """The pauses of one quota scope. Live state; the limiter owns it, not the call that failed.

    Args:
        policy: How long and how to go on.
        park_after: Seconds; a server that asks for a longer pause parks the scope.
        rng: Where the spread of pauses comes from.
    """

    __slots__ = (
        "_canaries_refused", "_canary_at", "_in_a_row", "_next_start", "_park_after", "_policy",
        "_rng", "_started", "begun", "cause", "episodes", "parked", "state", "until",
    )  # fmt: skip

    def __init__(self, policy: CooldownPolicy, *, park_after: float, rng: Random) -> None:
        self._policy = policy
        self._park_after = park_after
        self._rng = rng
        self.state = State.OPEN
        self.cause: Cause | None = None
        self.until = -inf
        self.parked: Parked | None = None
        self.episodes = 0
        self.begun = -inf
        self._in_a_row: dict[Cause, int] = dict.fromkeys(Cause, 0)
        self._canaries_refused = 0
        self._canary_at = -inf
        self._next_start = -inf
        self._started = policy.slow_start_items + 1

    @property
    def free(self) -> bool:
        """Whether nothing holds a call back and nothing will until a call fails."""
        return self.state is State.OPEN and self._started > self._policy.slow_start_items

    @property
    def troubled(self) -> bool:
        """Whether a success would change anything."""
        return self.state is not State.OPEN or any(self._in_a_row.values())

    @property
    def consecutive(self) -> int:
        """Refusals in a row, each of a call that was sent after the last pause."""
        return max(self._in_a_row.values())

    def next_time(self, now: float) -> float:
        """The earliest instant for the next start; ``inf`` while only a reply can tell."""
        match self.state:
            case State.OPEN:
                return max(now, self._next_start)
            case State.CLOSED:
                return max(now, self.until)
            case State.CANARY if self.cause is not Cause.BREAKER:
                return max(now, self._canary_at + self._policy.patience)
            case _:
                return inf

    def on_send(self, now: float) -> bool:
        """Note a start; returns whether it is the canary."""
        if self.state is State.CLOSED:
            if self._policy.canaries:
                self.state = State.CANARY
                self._canary_at = now
                return True
            self._resume()
        elif self.state is State.CANARY:
            self._resume()  # it was not refused in time
        if self._started <= self._policy.slow_start_items:
            self._started += 1
            self._next_start = max(self._next_start, now) + self._policy.slow_start_delay(
                self._started
            )
        return False

    def on_ok(self, sent_at: float, *, canary: bool = False) -> bool:
        """Note a success; returns whether it ended the pause."""
        if sent_at >= self.until:
            self._forgive()
        return self._canary_passed(canary)

    def on_answer(self, *, canary: bool) -> bool:
        """Note an answer that is no success and no refusal; returns whether it ended the pause."""
        return self._canary_passed(canary)

    def on_throttled(self, now: float, sent_at: float, wait: float | None) -> bool:
        """Note a refusal for quota; *wait* is what the server asked for. True: a new episode."""
        return self._refused(now, sent_at, wait, Cause.THROTTLED)

    def on_overloaded(self, now: float, sent_at: float, wait: float | None) -> bool:
        """Note a refusal by a server that is overloaded. True: a new episode."""
        return self._refused(now, sent_at, wait, Cause.OVERLOADED)

    def on_breaker(self, now: float, sent_at: float) -> bool:
        """Pause because calls fail one after the other. True: a new episode."""
        return self._refused(now, sent_at, None, Cause.BREAKER)

    def park(self, cause: Cause, until: float | None) -> None:
        """Wait no longer: the quota will not come back soon."""
        if self.parked is None:
            self.parked = Parked(cause, until)
            self.state = State.PARKED
            self.cause = cause

    def on_canary_lost(self, now: float) -> None:
        """The canary ended without an answer: another one may go at once."""
        if self.state is State.CANARY:
            self.state = State.CLOSED
            self.until = max(self.until, now)

    def reopen(self, now: float) -> None:
        """Leave the parked state; the next call is a canary."""
        if self.parked is not None:
            self.parked = None
            self._forgive()
            self.state = State.CLOSED
            self.until = now
            self._started = 0

    def _refused(self, now: float, sent_at: float, wait: float | None, cause: Cause) -> bool:
        if self.state is State.PARKED:
            return False
        if wait is not None and wait > self._park_after:
            self.park(Cause.HINT_TOO_LONG, now + wait)
            return False
        if sent_at < self.until:
            self._lengthen(now, wait)
            return False
        return self._begin(now, wait, cause)

    def _lengthen(self, now: float, wait: float | None) -> None:
        """A late refusal of an old call: what the server asks for holds, nothing else."""
        if wait is None or now + wait <= self.until:
            return
        self.until = now + wait
        self.state = State.CLOSED
        self._started = 0

    def _begin(self, now: float, wait: float | None, cause: Cause) -> bool:
        new = self.state is State.OPEN
        self._in_a_row[cause] += 1
        if cause is Cause.THROTTLED and (self.state is State.CANARY or not self._policy.canaries):
            self._canaries_refused += 1
        if self._canaries_refused >= self._policy.refused_in_a_row:
            self.park(Cause.CANARIES_REFUSED, None)
            return False
        pause = self._own_pause(cause) if wait is None else wait
        self.until = max(self.until, now + pause)
        self.state = State.CLOSED
        self.cause = cause
        self._started = 0
        if new:
            self.begun = now
            self.episodes += 1
        return new

    def _own_pause(self, cause: Cause) -> float:
        in_a_row = self._in_a_row[cause]
        if cause is Cause.OVERLOADED:
            return self._policy.overload_pause(in_a_row, self._rng)
        return self._policy.pause(in_a_row, self._rng)

    def _canary_passed(self, canary: bool) -> bool:
        if not (canary and self.state is State.CANARY):
            return False
        self._resume()
        return True

    def _resume(self) -> None:
        if self._policy.canaries:
            self._canaries_refused = 0
        self.state = State.OPEN
        self._next_start = -inf

    def _forgive(self) -> None:
        self._canaries_refused = 0
        for cause in self._in_a_row:
            self._in_a_row[cause] = 0
