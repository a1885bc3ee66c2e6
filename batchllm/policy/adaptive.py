"""The pace of one scope whose quota is unknown, or differs from what was declared or reported.

It joins what sets the pace: what was learned of the server decides how fast an open scope goes on,
a cold start how many calls are in flight while nothing is known, and an episode after a refusal
(``episodes.py``) whether calls go at all.
"""

from __future__ import annotations

from math import inf
from random import Random
from typing import Final

from attrs import define, field

from batchllm.policy.call_cap import CallCap
from batchllm.policy.cold_start import FIRST_CALLS, ColdStart
from batchllm.policy.cooldown import Cause, Cooldown, State
from batchllm.policy.diagnosis import RefusalTimes
from batchllm.policy.episodes import Episodes
from batchllm.policy.events import GateEvent, Send
from batchllm.policy.findings import Findings
from batchllm.policy.learned import Learned
from batchllm.policy.quota_search import SLACK
from batchllm.policy.send_log import SendLog

__all__ = ["AdaptivePace"]

_AGAIN: Final = 4
"""Calls in flight with which a scope goes on after a pause if it knows no pace: a canary has shown
that one is taken, so four cannot be called a herd."""
_CAPPED_LONGEST: Final = 5.0
"""Seconds between two calls at most while a cap refuses each: a place is free again when a call of
another client ends, which takes seconds, and each look costs a refusal."""


@define(eq=False)
class AdaptivePace:
    """Paces one scope by what its server does. Live state, for one clock.

    Args:
        rng: Where the spread of pauses comes from.
        park_after: Seconds without any accepted call after which the scope is parked.
        calls: The cap on calls in flight that others keep; beyond it a cold start opens nothing.
        learned_before: What an earlier run found out.
        cold: Whether to start with few calls in flight if nothing is known.
        slack: Seconds that a late start may make up for.
        log: What was sent and refused.

    Attributes:
        events: What happened, for the limiter to pass on.
        cooldown: Its pauses.
        findings: What it has learned of the server.
        times: How long the server takes to refuse.
        flying: The numbers of the calls on their way.
        cold_start: The window of calls in flight at a start without a pace, while it opens.
    """

    rng: Random
    park_after: float
    calls: CallCap
    learned_before: Learned | None = None
    cold: bool = True
    slack: float = SLACK
    log: SendLog = field(factory=SendLog)
    events: list[GateEvent] = field(factory=list[GateEvent], init=False)
    cooldown: Cooldown = field(init=False)
    findings: Findings = field(init=False)
    times: RefusalTimes = field(factory=RefusalTimes, init=False)
    flying: set[int] = field(factory=set[int], init=False)
    _episodes: Episodes = field(init=False)
    cold_start: ColdStart | None = field(default=None, init=False)
    _capped_until: float = field(default=-inf, init=False)
    _capped_at: float = field(default=-inf, init=False)
    _capped_for: float = field(default=0.0, init=False)
    _capped_since: float | None = field(default=None, init=False)
    _connect_seconds: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.cooldown = Cooldown(self.rng)
        self.findings = Findings(self.log, self.events, self.learned_before, self.slack)
        self._episodes = Episodes(
            self.log, self.cooldown, self.findings, self.times, self.events, self.flying,
            self.park_after,
        )  # fmt: skip
        if self.cold and self.findings.search.rate is None:
            self.cold_start = ColdStart()

    # -- asking ------------------------------------------------------------------------------

    @property
    def room(self) -> float:
        """Return the calls in flight below which nothing holds one back until one fails."""
        if not self.cooldown.free or self.findings.bind or self._capped_until != -inf:
            return 0
        return inf if self.cold_start is None else self.cold_start.window

    def next_time(self, now: float, in_flight: int) -> float:
        """Return the earliest instant for the next start; ``inf`` if only a reply can show it."""
        cooldown = self.cooldown
        if not cooldown.free:
            if self._episodes.advance(now):
                self._go_on()
            if not cooldown.free:
                return max(self._capped_until, cooldown.next_time(now, self.times.patience))
        if in_flight >= self.findings.cap.limit:
            return inf
        if now >= self._capped_until:
            self._capped_until = -inf  # so that calls again need to ask no part while there is room
        at = max(now, self._capped_until, self.findings.next_time(now, self.times.patience))
        if self.cold_start is not None:
            at = max(at, self.cold_start.next_time(now, in_flight))
        return at

    # -- calls -------------------------------------------------------------------------------

    def on_free_send(self, send: Send) -> None:
        """Note that *send* starts while there is ``room``: neither pause nor pace takes note."""
        self.flying.add(send.mark)

    def on_send(self, now: float, send: Send) -> None:
        """Note that *send* starts."""
        self.flying.add(send.mark)
        if self.cooldown.on_send(now):
            send.canary = True
            self._episodes.canary = send
            self.findings.search.delay(now)
        else:
            self.findings.on_send(now)

    def on_connected(self, seconds: float) -> None:
        """Note that a connection to the server takes *seconds* to be made."""
        self._connect_seconds = seconds
        if self.cold_start is not None:
            self.cold_start.connect_seconds = seconds

    def on_accepted(self, now: float, send: Send, *, proven: bool = True) -> None:
        """Note that the server did not refuse *send*; *proven* if it has answered it."""
        episodes = self._episodes
        self.flying.discard(send.mark)
        if proven:
            episodes.refused_since = None
            if self._capped_since is not None:
                self._capped_since, self._capped_for = None, 0.0
            # Of calls that were sent beside refused ones it is not known how many were taken.
            calm = episodes.diagnosis is None and send.mark >= episodes.cut_mark
            if self.findings.on_answer(now, send.others if calm else 0):
                self.cold_start = self._start_cold(max(FIRST_CALLS, len(self.flying)))
        if self.cold_start is not None:
            most, held = self.calls.limit, self.findings.cap.held
            if held is not None:
                most = min(most, self.findings.cap.limit)
            if not self.cold_start.on_answer(now - send.sent_at, most):
                self.cold_start = None
        # Asked first whether it has to know, as hardly any call comes in an episode.
        in_one = episodes.diagnosis is not None or episodes.canary is not None
        if in_one and episodes.accepted(now, send):
            self._go_on()
        if proven and send.mark >= episodes.cut_mark and self.cooldown.overloads:
            self.cooldown.forgive()  # it was sent after the last pause, which was long enough

    def on_refused(
        self, now: float, send: Send, wait: float | None, cause: Cause, *, explained: bool
    ) -> None:
        """Note that *send* was refused.

        Args:
            now: When.
            send: The call.
            wait: Seconds that the server asked to wait.
            cause: Why.
            explained: Whether the refusal came with a limit that was not known before, so that
                nothing has to be measured.
        """
        self.flying.discard(send.mark)
        self.times.add(now - send.sent_at)
        self.log.on_lost(send.mark)
        if self._episodes.refused(now, send, wait, cause, explained=explained):
            self._go_on()

    def explain(self, now: float) -> None:
        """Note that a call was answered whose tokens the refused ones had lacked."""
        self._episodes.explain(now)

    def on_capped(self, now: float, send: Send) -> bool:
        """Note that *send* met a cap on parallel calls that the server named.

        It says nothing about pace. The next call waits a moment, since a server often counts a
        call for a while after it was answered; and twice as long each time that it is refused, too,
        since others may hold all places.

        Returns:
            Whether none was taken for so long that waiting is no use.
        """
        self.times.add(now - send.sent_at)
        self.on_lost(now, send, left=False)
        if send.sent_at >= self._capped_at:  # those sent beside it met the same moment
            longer = max(self.times.patience, 2 * self._capped_for)
            self._capped_at, self._capped_for = now, min(_CAPPED_LONGEST, longer)
            self._capped_until = now + self._capped_for
        if self._capped_since is None:
            self._capped_since = now
        # A call of ours that is still on its way may hold a place.
        if self.flying or now - self._capped_since < self.park_after:
            return False
        self._capped_since = None
        return True

    def on_lost(self, now: float, send: Send, *, left: bool) -> None:
        """Note that *send* ended without an answer; *left* says whether it was sent at all."""
        self.flying.discard(send.mark)
        if not left:
            self.log.on_lost(send.mark)
            self.findings.on_unsent()
        if self._episodes.lost(now, send, left=left):
            self._go_on()

    @property
    def refused_since(self) -> float | None:
        """The instant since which no call was answered, if one was refused then."""
        return self._episodes.refused_since

    @property
    def canary(self) -> Send | None:
        """The call that tests whether the quota is back, while it is on its way."""
        return self._episodes.canary

    @property
    def patience(self) -> float:
        """Seconds after which a call that drew no refusal counts as accepted."""
        return self.times.patience

    @property
    def hinted(self) -> bool:
        """Return whether the server said how long to wait, in the present episode."""
        return self._episodes.hinted

    def pause(self, now: float, until: float) -> None:
        """Send nothing until *until*, as a policy of the user's asks; then one call goes alone."""
        if self.cooldown.state is State.OPEN:
            self.cooldown.judge(now, Cause.THROTTLED, until)
            self.cooldown.close(until)
        else:
            self.cooldown.lengthen(until)

    def reopen(self, now: float) -> None:
        """Leave the parked state; the next call is a canary."""
        self._episodes.reopen(now)

    def _go_on(self) -> None:
        # Without a pace nothing would hold the line: few calls first, as at the start.
        self.cold_start = None if self.findings.bind else self._start_cold(_AGAIN)

    def _start_cold(self, window: int) -> ColdStart:
        return ColdStart(window, self._connect_seconds)
