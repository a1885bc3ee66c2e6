"""Numbers about the pace and health of a run, and in words what held it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from math import isfinite
from typing import Any

from attrs import define, field

from batchllm.core import counted
from batchllm.engine.hedging import Hedging
from batchllm.engine.resources import Resources
from batchllm.engine.spending import Spending
from batchllm.engine.waiting import Waits, Window
from batchllm.gate import Gate
from batchllm.policy import (
    CUT_OFF,
    OUTAGE,
    SHARED,
    GateSnapshot,
    Limit,
    found_in_words,
    limit_in_words,
)

__all__ = ["Stats", "limited_by"]

_MOST = 0.5
"""The share of the time, or of a limit, beyond which it counts."""
_SHORTEST_PERIOD = 1.0
"""Seconds; a shorter period of a reported limit is a guess, and the next reply has another."""
_SCOPES_KEPT = 8
"""Scopes whose use is kept over time, so that a sample stays small if each item has its own."""


@define(eq=False)
class Stats:
    """Reads what the parts of one run count.

    Args:
        resources: Gates, the cap on calls and connections.
        waits: What items have waited.
        window: Where they wait now.
        hedging: Counts second copies; ``None`` if there are none.
        spending: Keeps the budget; ``None`` if there is none.
        clock: Seconds on the event loop's clock.
        started: When the run began.
    """

    resources: Resources
    waits: Waits
    window: Window
    hedging: Hedging | None
    spending: Spending | None
    clock: Callable[[], float]
    started: float
    _held_before: Mapping[Gate, Mapping[str, float]] = field(init=False)
    _full_before: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._held_before = self.resources.gates.held_so_far()
        self._full_before = self.resources.callers.full_for

    @property
    def duration(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self.started

    def brief(self) -> dict[str, Any]:
        """Return the few numbers that are kept over time, as JSON has them."""
        window, gates = self.window, self.resources.gates
        held = gates.held_back(self._held_before)
        return {
            "duration": self.duration,
            "in_flight": self.resources.callers.statistics().borrowed_tokens,
            "waiting": window.count_waiting(),
            "sleeping": window.sleeping,
            "episodes": gates.episodes,
            "held": {cause: round(seconds, 3) for cause, seconds in held.items()},
            "scopes": {
                name: _in_brief(scope)
                for name, scope in islice(gates.snapshots().items(), _SCOPES_KEPT)
            },
        }

    def read(self) -> dict[str, Any]:
        """Return the numbers, as ``get_stats()`` gives them."""
        resources, window = self.resources, self.window
        gates, callers = resources.gates, resources.callers
        scopes = gates.snapshots()
        sends = sum(s.sends for s in scopes.values())
        refused = sum(s.throttled + s.overloaded for s in scopes.values())
        own = callers.own_limits(self.clock())
        held, duration = gates.held_back(self._held_before), self.duration
        held["calls"] = held.get("calls", 0.0) + callers.full_for - self._full_before
        if self.spending is not None:
            held["budget"] = self.spending.held
        cap = callers.statistics()
        snapshots = [*scopes.values(), *([] if own is None else [own])]
        return {
            "duration": duration,
            "in_flight": cap.borrowed_tokens,
            "waiting": window.count_waiting(),
            "sleeping": window.sleeping,
            "rate_limit_count": gates.episodes,
            "hedged_calls": 0 if self.hedging is None else self.hedging.count,
            "throttled_calls": sum(s.throttled for s in scopes.values()),
            "calls_sent": sends,
            "refused_share": refused / sends if sends else 0.0,
            "waits": dict(self.waits.seconds),
            "held_back": held,
            "limited_by": limited_by(
                held, duration, snapshots, int(cap.total_tokens), has_own=own is not None
            ),
            "own_limits": own,
            "budget": None if self.spending is None else self.spending.read(),
            "scopes": scopes,
            "connections": resources.lifecycle.connections(),
        }


def _in_brief(scope: GateSnapshot) -> dict[str, Any]:
    """Return the numbers of a scope that are kept over time."""
    return {
        "state": scope.state,
        "pace": scope.pace if scope.pace is None or isfinite(scope.pace) else None,
        "sends": scope.sends,
        "refused": scope.throttled + scope.overloaded,
        "used": {
            limit_in_words(limit): round(share, 3)
            for limit, share in zip(scope.limits, scope.used, strict=True)
            if limit.per >= _SHORTEST_PERIOD
        },
    }


def limited_by(
    held: Mapping[str, float],
    duration: float,
    scopes: Sequence[GateSnapshot],
    calls: int,
    *,
    has_own: bool = False,
) -> str | None:
    """Return what held a run back for most of its time; ``None`` if nothing did.

    Args:
        held: Seconds during which calls waited, by cause.
        duration: Seconds of the run.
        scopes: What its gates know.
        calls: Its cap on calls in flight.
        has_own: Whether a quota was declared for the run itself.
    """
    cause = max(held, key=lambda name: held[name], default="calls")
    # Where no cause alone took most of the time, those of the provider may have together.
    together = sum(held.get(name, 0.0) for name in ("quota", "cooldown", "calls", SHARED))
    if not held or max(held[cause], together) <= _MOST * duration or duration <= 0:
        return None
    if cause == "budget":
        return "the budget, which had no room for more calls at a time"
    if cause == OUTAGE:
        return f"an endpoint that did not answer, for {_seconds(held[cause])}"
    if cause == CUT_OFF:
        return f"a shared gate that could not be reached, for {_seconds(held[cause])}"
    caps = [scope.cap for scope in scopes if scope.cap is not None]
    if caps and cause != "cooldown":
        return f"the provider's cap, found to be {sum(caps):,} calls at a time"
    reported = [scope.reported_cap for scope in scopes if scope.reported_cap is not None]
    if cause == "calls" and reported and sum(reported) < calls:
        return f"the provider's cap of {counted(sum(reported), 'call')} at a time, as it reported"
    if cause == "calls":
        return f"{calls:,} calls in flight at most; raise concurrency if the server allows more"
    if cause == "cooldown":
        return f"pauses after rate limits, for {_seconds(held[cause])}"
    used = [
        limit_in_words(limit)
        for scope in scopes
        for limit, share in zip(scope.limits, scope.used, strict=True)
        if share > _MOST or _is_below_the_pace(limit, scope.pace)
    ]
    if cause == SHARED:
        kept = ", ".join(dict.fromkeys(limit_in_words(one) for s in scopes for one in s.limits))
        return f"the quota of {kept or 'its provider'}, shared with other processes"
    if used:
        return f"the quota of {', '.join(dict.fromkeys(used))}"
    pace = sum(scope.pace for scope in scopes if scope.pace is not None)
    if pace:
        return found_in_words(pace)
    if has_own:
        return "a quota of the run's own"
    return "its own start, from few calls in flight to more with each round trip"


def _seconds(time: float) -> str:
    """Return *time* in whole seconds, or in tenths where these would round it to nothing."""
    return f"{time:,.0f} s" if time >= 10 else f"{time:.1f} s"


def _is_below_the_pace(limit: Limit, pace: float | None) -> bool:
    """Return whether *limit* is what binds: a short one may look unused when the run ends."""
    return pace is not None and limit.dimension == "requests" and limit.amount <= pace * limit.per
