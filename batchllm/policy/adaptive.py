"""The pace of one scope whose quota is unknown, or differs from what was declared or reported.

A refusal is first understood, then answered: a spent quota pauses the scope and is tested by one
canary; a leak lowers the pace a little and pauses nothing; a cap is kept as a number of calls in
flight; noise is forgiven. What was learned last decides how fast the scope goes on.
"""

from __future__ import annotations

from math import inf
from random import Random
from typing import Final

from attrs import define, field

from batchllm.policy.call_cap import CallCap
from batchllm.policy.cold_start import FIRST_CALLS, ColdStart
from batchllm.policy.cooldown import Cause, Cooldown, State
from batchllm.policy.diagnosis import Diagnosis, Meaning, RefusalTimes
from batchllm.policy.events import GateEvent, Send
from batchllm.policy.findings import Findings
from batchllm.policy.pause_log import PauseLog
from batchllm.policy.quota_search import Learned
from batchllm.policy.send_log import Point, SendLog

__all__ = ["AdaptivePace"]

_PROMPT: Final = 3.0
"""Seconds within which a bucket at its bottom takes calls again, and a window seldom does."""
_AGAIN: Final = 4
"""Calls in flight with which a scope goes on after a pause if it knows no pace: a canary has shown
that one is taken, so four cannot be called a herd."""


@define(eq=False)
class AdaptivePace:
    """Paces one scope by what its server does. Live state, for one clock.

    Args:
        rng: Where the spread of pauses comes from.
        park_after: Seconds without any accepted call after which the scope is parked.
        calls: The cap on calls in flight that others keep; beyond it a cold start opens nothing.
        learned_before: What an earlier run found out.
        cold: Whether to start with few calls in flight if nothing is known.

    Attributes:
        events: What happened, for the limiter to pass on.
        log: What was sent and refused.
        cooldown: Its pauses.
        findings: What it has learned of the server.
        flying: The numbers of the calls on their way.
        cold_start: The window of calls in flight at a start without a pace, while it opens.
    """

    rng: Random
    park_after: float
    calls: CallCap
    learned_before: Learned | None = None
    cold: bool = True
    events: list[GateEvent] = field(factory=list[GateEvent], init=False)
    log: SendLog = field(factory=SendLog, init=False)
    cooldown: Cooldown = field(init=False)
    findings: Findings = field(init=False)
    flying: set[int] = field(factory=set[int], init=False)
    _pauses: PauseLog = field(init=False)
    _times: RefusalTimes = field(factory=RefusalTimes, init=False)
    cold_start: ColdStart | None = field(default=None, init=False)
    _diagnosis: Diagnosis | None = field(default=None, init=False)
    _lone: bool = field(default=False, init=False)
    _explained: bool = field(default=False, init=False)
    _canary: Send | None = field(default=None, init=False)
    _cut_mark: int = field(default=0, init=False)
    _refused_since: float | None = field(default=None, init=False)
    _capped_until: float = field(default=-inf, init=False)
    _connect_seconds: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.cooldown = Cooldown(self.rng)
        self._pauses = PauseLog(self.cooldown, self.events)
        self.findings = Findings(self.log, self.events, self.learned_before)
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
            self._advance(now)
            if not cooldown.free:
                return cooldown.next_time(now, self._times.patience)
        if in_flight >= self.findings.cap.limit:
            return inf
        if now >= self._capped_until:
            self._capped_until = -inf  # so that calls again need to ask no part while there is room
        at = max(now, self._capped_until, self.findings.next_time(now, self._times.patience))
        if self.cold_start is not None:
            at = max(at, self.cold_start.next_time(now, in_flight))
        return at

    def _advance(self, now: float) -> None:
        """Take the step that is due by time alone."""
        state = self.cooldown.state
        if state is State.JUDGING and now >= self.cooldown.until:
            self._judge(now)
        elif state is State.CANARY and self.cooldown.next_time(now, self._times.patience) <= now:
            canary = self._canary
            self._recover(now, canary)  # it drew no refusal in time
            if canary is not None:
                self._cut_mark = canary.mark  # one that comes late all the same counts

    # -- calls -------------------------------------------------------------------------------

    def on_send(self, now: float, send: Send) -> None:
        """Note that *send* starts."""
        self.flying.add(send.mark)
        if self.cooldown.on_send(now):
            send.canary = True
            self._canary = send
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
        self.flying.discard(send.mark)
        if proven:
            self._refused_since = None
            # Of calls that were sent beside refused ones it is not known how many were taken.
            calm = self._diagnosis is None and send.mark >= self._cut_mark
            if self.findings.on_answer(now, send.others if calm else 0):
                self.cold_start = self._start_cold(max(FIRST_CALLS, len(self.flying)))
        if self.cold_start is not None:
            most = min(self.calls.limit, self.findings.cap.limit)
            if not self.cold_start.on_answer(now - send.sent_at, most):
                self.cold_start = None
        if self._diagnosis is not None:
            self._accepted_in_episode(now, send, self._diagnosis)
        elif self._canary is not None and self._is_canary(send):
            self._recover(now, send)
        if proven and send.mark >= self._cut_mark and self.cooldown.overloads:
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
        self._times.add(now - send.sent_at)
        self.log.on_lost(send.mark)
        if self._diagnosis is None and self._is_canary(send):
            # The first call after the scope was reopened: it pauses as after any refused canary.
            self._diagnosis, self._explained = Diagnosis(now, set()), False
            self.cooldown.cause = cause
        diagnosis = self._diagnosis
        if diagnosis is not None:
            self._explained |= explained
            self._refused_in_episode(now, send, wait, diagnosis)
        elif self._means_something(now, send, cause):
            self._explained = explained
            if self._refused_since is None:
                self._refused_since = now
            pending = {mark for mark in self.flying if mark > send.mark}
            self._diagnosis = diagnosis = Diagnosis(now, pending)
            diagnosis.add(now, send, wait)
            self.cooldown.judge(now, cause, self.log.last_at + self._times.patience)
            self._judge_if_clear(now, diagnosis)

    def on_capped(self, now: float, send: Send) -> None:
        """Note that *send* met a cap on parallel calls that the server named.

        It says nothing about pace. The next call waits a moment, since a server often counts a
        call for a while after it was answered.
        """
        self._times.add(now - send.sent_at)
        self.on_lost(now, send, left=False)
        self._capped_until = now + self._times.patience

    def on_lost(self, now: float, send: Send, *, left: bool) -> None:
        """Note that *send* ended without an answer; *left* says whether it was sent at all."""
        self.flying.discard(send.mark)
        if not left:
            self.log.on_lost(send.mark)
            self.findings.noise.on_unsent()
        if self._diagnosis is not None:
            self._diagnosis.pending.discard(send.mark)
            if not left:
                self._diagnosis.unsent.add(send.mark)
            self._judge_if_clear(now, self._diagnosis)
        if self._is_canary(send):
            self._canary = None
            self.cooldown.on_canary_lost(now)

    @property
    def refused_since(self) -> float | None:
        """The instant since which no call was answered, if one was refused then."""
        return self._refused_since

    @property
    def canary(self) -> Send | None:
        """The call that tests whether the quota is back, while it is on its way."""
        return self._canary

    @property
    def patience(self) -> float:
        """Seconds after which a call that drew no refusal counts as accepted."""
        return self._times.patience

    @property
    def hinted(self) -> bool:
        """Return whether the server said how long to wait, in the present episode."""
        return self._diagnosis is not None and self._diagnosis.hinted_until > -inf

    def pause(self, now: float, until: float) -> None:
        """Send nothing until *until*, as a policy of the user's asks; then one call goes alone."""
        if self.cooldown.state is State.OPEN:
            self.cooldown.judge(now, Cause.THROTTLED, until)
            self.cooldown.close(until)
        else:
            self.cooldown.lengthen(until)

    def restored(self) -> None:
        """Write down the pauses of the state that it was put into."""
        self._pauses = PauseLog(self.cooldown, self.events)

    def reopen(self, now: float) -> None:
        """Leave the parked state; what the server did before it is no part of any measurement."""
        if self.cooldown.parked is not None:
            self._diagnosis = self._canary = self._refused_since = None
            self._cut_mark = self.log.count
            self.log.restart()
            self.cooldown.reopen(now)

    def _means_something(self, now: float, send: Send, cause: Cause) -> bool:
        """Return whether a refusal in an open scope begins an episode."""
        if self.cooldown.state is not State.OPEN or send.mark < self._cut_mark:
            return False  # parked; or a late refusal, of a call from before the last episode
        return not self.findings.forgives(now, cause)

    def _is_canary(self, send: Send) -> bool:
        return self._canary is not None and self._canary.mark == send.mark

    # -- an episode --------------------------------------------------------------------------

    def _accepted_in_episode(self, now: float, send: Send, diagnosis: Diagnosis) -> None:
        diagnosis.pending.discard(send.mark)
        state = self.cooldown.state
        if state is State.JUDGING:
            self._judge_if_clear(now, diagnosis)
        elif state is State.CANARY and self._is_canary(send):
            self._recover(now, send)
        elif state is State.CLOSED and send.sent_at > diagnosis.empty.at:
            self._recover(now, send)  # sent after the last refused one: what was asked is over

    def _refused_in_episode(
        self, now: float, send: Send, wait: float | None, diagnosis: Diagnosis
    ) -> None:
        diagnosis.add(now, send, wait)
        cooldown = self.cooldown
        if cooldown.state is State.JUDGING:
            cooldown.until = self.log.last_at + self._times.patience
            self._judge_if_clear(now, diagnosis)
        elif cooldown.state is State.CANARY and self._is_canary(send):
            self._canary_refused(now, diagnosis, hinted=wait is not None)
        elif wait is not None and cooldown.lengthen(now + wait):
            self._pauses.lengthened(now, hinted=True)

    def _canary_refused(self, now: float, diagnosis: Diagnosis, *, hinted: bool) -> None:
        self._canary = None
        cooldown = self.cooldown
        if self._refused_since is None:  # calls from before the pause were still answered
            self._refused_since = now
        if now - self._refused_since >= self.park_after:
            cooldown.park(Cause.NOTHING_ACCEPTED, None)
            return
        cooldown.refused_again(now, diagnosis.hinted_until, self.findings.search.pace)
        self._pauses.lengthened(now, hinted=hinted)

    def _judge_if_clear(self, now: float, diagnosis: Diagnosis) -> None:
        if self.cooldown.state is State.JUDGING and not diagnosis.pending:
            self._judge(now)

    def _judge(self, now: float) -> None:
        """Decide what the refusals mean, and pause if the quota is spent."""
        diagnosis, cooldown = self._diagnosis, self.cooldown
        assert diagnosis is not None
        meaning = diagnosis.meaning(self.log.count)
        binding = diagnosis.binding_until(self.log.count)
        self._lone = meaning is not Meaning.SPENT
        if meaning is Meaning.LEAK and binding > now:
            self._pauses.started(now, binding, hinted=True)
            cooldown.close(binding)
            return
        if meaning is Meaning.LEAK:
            self._pauses.started(now, now, hinted=False)
            cooldown.episodes += 1
            self._finish(now, diagnosis, self.log.now(now), leak=True)
            return
        hinted = diagnosis.hinted_until > -inf
        own = self._own_until(diagnosis)
        until = diagnosis.hinted_until if hinted else own
        if self._lone:
            until = max(until, self.findings.search.next_time(now))
        cooldown.close(until)
        self._pauses.started(now, until, hinted=hinted)

    def _own_until(self, diagnosis: Diagnosis) -> float:
        """Return when a pause ends that the server said nothing about."""
        pace = self.findings.search.pace
        if self._lone and pace is not None and self.cooldown.cause is Cause.THROTTLED:
            return diagnosis.at + self._times.patience / 2
        return diagnosis.at + self.cooldown.own_pause(pace)

    def _recover(self, now: float, send: Send | None) -> None:
        """Go on, since the server took *send* after the pause."""
        diagnosis, self._canary = self._diagnosis, None
        if diagnosis is None or send is None:  # reopened after it was parked
            self._open(now)
            return
        back = Point(send.sent_at, send.mark)
        if self.cooldown.canaries_refused:
            # It came back some time between the two canaries.
            back = Point((diagnosis.empty.at + send.sent_at) / 2, send.mark)
        leak = self._lone and send.sent_at - diagnosis.begun.at <= _PROMPT
        self._finish(now, diagnosis, back, leak=leak, taken_at=send.sent_at)

    def _finish(
        self,
        now: float,
        diagnosis: Diagnosis,
        back: Point,
        *,
        leak: bool,
        taken_at: float | None = None,
    ) -> None:
        """Learn from an episode, and open the scope."""
        self._diagnosis = None
        canaries = self.cooldown.canaries_refused
        self.findings.learn(
            now,
            diagnosis.episode(back, leak=leak, canaries=canaries, taken_at=taken_at),
            self.cooldown.cause,
            beside=diagnosis.beside(),
            explained=self._explained,
        )
        self._open(now)

    def _start_cold(self, window: int) -> ColdStart:
        return ColdStart(window, self._connect_seconds)

    def _open(self, now: float) -> None:
        cooldown = self.cooldown
        cooldown.resume()
        self._cut_mark = self.log.count
        # Without a pace nothing would hold the line: few calls first, as at the start.
        self.cold_start = None if self.findings.bind else self._start_cold(_AGAIN)
        self._pauses.ended(now)
