"""The pace of a quota that several workers share and none of them knows, as their authority learns.

It is the pace of one scope as ever (``adaptive.py``), fed from afar: a call is sent when its slot
is booked, and has ended when its worker says so with its next request. That is later than a scope
of one process hears of it, so that fewer slots are booked ahead while something is being found out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf
from random import Random
from typing import Any, Final

from attrs import define, field

from batchllm.core import CallCost
from batchllm.policy.adaptive import AdaptivePace
from batchllm.policy.call_cap import CallCap
from batchllm.policy.cooldown import Cause, State
from batchllm.policy.events import Send
from batchllm.policy.leases import CallEnd, Pause
from batchllm.policy.pace_state import dump_pace, load_pace
from batchllm.policy.quota_search import QuotaSearch
from batchllm.policy.send_log import SendLog

__all__ = ["SharedPace"]

_AGAIN: Final = 0.05
"""Seconds until a worker asks again that waits for the calls of others to end: a cold start doubles
in 0.25 s, and overshoots by 15 % for each 0.05 s that it hears of a refusal later."""
_AHEAD: Final = 0.3
_AHEAD_SHARE: Final = 0.05
"""Seconds that slots lie ahead of now, and the share of the time of a probe that it is at most:
what is booked when a refusal comes is refused, too, and the pace of a first search doubles in a
second."""
_SLACK: Final = 0.25
"""Seconds that late requests may make up for: processes wait for a core now and then, and with what
lies ahead a schedule would run dry (on two cores with a load of ten 75 % were used)."""
_CANARY_AGAIN: Final = 0.25
"""Seconds until a worker asks again that waits for the canary of another."""
_TICK: Final = 1.0
"""Seconds between two remembered instants: they are copied at every lease, and 1.7 % of a minute
is less than a rate is taken to have moved by."""


class _NoChance(Random):
    """Gives the mean: a spread has clients part from each other, and these pause as one."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@define(eq=False)
class SharedPace:
    """Learns the pace of one quota from all its workers. Live state.

    Args:
        cold: Whether to start with few calls in flight, as nothing is known of the quota.
    """

    cold: bool = True
    _pace: AdaptivePace = field(init=False)
    _flying: dict[str, set[int]] = field(factory=dict[str, set[int]], init=False)
    """The numbers of the calls on their way, by worker."""
    _tester: str = field(default="", init=False)
    """The worker that has the canary, or had it last."""
    _heard: float = field(default=-inf, init=False)
    """When that one was last heard of."""

    def __attrs_post_init__(self) -> None:
        log = SendLog(tick=_TICK)
        self._pace = AdaptivePace(
            _NoChance(), inf, CallCap(), None, self.cold, slack=_SLACK, log=log
        )

    # -- asking ------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Return whether nothing pauses and no call is tested."""
        return self._pace.cooldown.free

    @property
    def searches(self) -> bool:
        """Return whether it is places in flight that are given, and not instants of a pace."""
        findings = self._pace.findings
        return findings.search.rate is None or findings.cap.held is not None

    @property
    def rate(self) -> float | None:
        """Calls per second that the server was measured to accept."""
        return self._search.rate

    @property
    def ahead(self) -> float | None:
        """Seconds that slots may lie ahead of now; ``None`` where no pace is learned."""
        if self.rate is None:
            return None
        return min(_AHEAD, _AHEAD_SHARE * self._search.probe)

    @property
    def in_flight(self) -> int:
        """Calls on their way, as far as their workers have said."""
        return len(self._pace.flying)

    def idle(self, now: float) -> float:
        """Return the seconds since the last call; 0 if there was none."""
        return now - self._pace.log.last_at if self._pace.log.count else 0.0

    def step(self, now: float) -> float:
        """Take the steps that are due by time alone; returns when a call may go, if it pauses."""
        pace = self._pace
        canary = None if self.open else pace.canary
        if canary is not None and self._heard < canary.sent_at + pace.patience:
            # Silence counts as acceptance only if its worker is there to report a refusal.
            return max(now, canary.sent_at) + _CANARY_AGAIN
        return now if self.open else pace.next_time(now, self.in_flight)

    def next_time(self, begin: float, worker: str, asking: int) -> float:
        """Return the earliest instant for a call of *worker* from *begin* on, in an open scope.

        Args:
            begin: At least now; what is booked lies before it.
            worker: Who asks.
            asking: How many share the places of a search.
        """
        pace = self._pace
        cold = inf if pace.cold_start is None else pace.cold_start.window
        places = min(cold, pace.findings.cap.limit)
        # The window opens as far as all together fill it; no worker has more than its part.
        at = pace.next_time(begin, self.in_flight)
        if places < inf and len(self._flying.get(worker, ())) >= max(1, ceil(places / asking)):
            at = max(at, begin + _AGAIN)
        return min(at, begin + _AGAIN) if at == inf else at

    def pause(self, now: float) -> Pause | None:
        """Return what holds all workers back now, if something does."""
        cooldown = self._pace.cooldown
        if cooldown.free or cooldown.cause is None:
            return None
        closed = cooldown.state is State.CLOSED
        since = self._pace.refused_since
        return Pause(
            cause=cooldown.cause.value,
            seconds=max(0.0, cooldown.until - now) if closed else 0.0,
            hinted=self._pace.hinted,
            refused_for=0.0 if since is None else now - since,
        )

    @property
    def _search(self) -> QuotaSearch:
        return self._pace.findings.search

    # -- calls -------------------------------------------------------------------------------

    def book(self, at: float, worker: str) -> int:
        """Note that a call of *worker* starts at *at*; returns its number."""
        mark = self._pace.log.on_send(at)
        self._pace.on_send(at, Send(at, CallCost(), mark, self.in_flight, None))
        self._flying.setdefault(worker, set()).add(mark)
        if self._pace.canary is not None and self._pace.canary.mark == mark:
            self._tester, self._heard = worker, -inf
        return mark

    def on_report(
        self, now: float, worker: str, ends: Sequence[CallEnd], closed_for: float
    ) -> None:
        """Take in how calls of *worker* ended, and for how long a policy of its user's pauses."""
        if worker == self._tester:
            self._heard = now
        flying = self._flying.setdefault(worker, set())
        for end in ends:
            mark = end.mark
            if mark < 0 and end.how in ("refused", "overloaded"):
                mark = self.book(max(end.at, self._pace.log.last_at), worker)
            elif mark not in flying:
                continue  # of an authority whose state was lost, or of a worker that was given up
            flying.discard(mark)
            send = Send(end.at, CallCost(), mark, end.others, None)
            send.end = max(send.end, end.end)
            self._end(now, send, end)
        if closed_for > 0:
            self._pace.pause(now, now + closed_for)
        self._pace.events.clear()

    def on_gone(self, now: float, worker: str) -> None:
        """Note that *worker* is not there any more: nothing will be heard of its calls."""
        for mark in sorted(self._flying.pop(worker, ())):
            self._pace.on_lost(now, Send(now, CallCost(), mark, 0, None), left=True)

    def _end(self, now: float, send: Send, end: CallEnd) -> None:
        pace = self._pace
        match end.how:
            case "accepted":
                pace.on_accepted(now, send)
            case "unproven":
                pace.on_accepted(now, send, proven=False)
            case "capped":
                pace.on_capped(now, send)
            case "refused" | "overloaded":
                wait = None if end.wait is None else max(0.0, end.wait - end.ago)
                cause = Cause.THROTTLED if end.how == "refused" else Cause.OVERLOADED
                pace.on_refused(now, send, wait, cause, explained=end.explained)
            case _:
                pace.on_lost(now, send, left=end.how == "lost")

    # -- state -------------------------------------------------------------------------------

    def dump(self) -> list[Any]:
        """Return the state as plain values."""
        flying = {worker: list(marks) for worker, marks in self._flying.items() if marks}
        return [dump_pace(self._pace), flying, self._tester, self._heard]

    @classmethod
    def load(cls, state: list[Any]) -> SharedPace:
        """Return the pace that ``dump`` was called on."""
        made = cls()
        load_pace(state[0], made._pace)
        made._flying = {worker: set(marks) for worker, marks in state[1].items()}
        made._tester, made._heard = state[2:]
        made._pace.flying.update(*made._flying.values())
        return made
