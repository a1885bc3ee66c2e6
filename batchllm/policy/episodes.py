"""The course of an episode: a refusal is judged, a pause follows, a canary goes, calls go on.

A refusal is first understood, then answered. A spent quota pauses the scope and is tested by one
canary; a leak pauses nothing, unless the server asks for it. What an episode shows goes to the
findings when it is over.
"""

from __future__ import annotations

from math import inf
from typing import Final

from attrs import define, field

from batchllm.policy.cooldown import Cause, Cooldown, State
from batchllm.policy.diagnosis import Diagnosis, Meaning, RefusalTimes
from batchllm.policy.events import GateEvent, Send
from batchllm.policy.findings import Findings
from batchllm.policy.pause_log import PauseLog
from batchllm.policy.send_log import Point, SendLog

__all__ = ["Episodes"]

_PROMPT: Final = 3.0
"""Seconds within which a bucket at its bottom takes calls again, and a window seldom does."""


@define(eq=False)
class Episodes:
    """Takes one scope through its episodes. Live state, for one clock.

    Each method that may end an episode returns whether it did, so that calls go on.

    Args:
        log: What the scope sent, and what was refused of it.
        cooldown: Its pauses.
        findings: What it has learned of the server.
        times: How long the server takes to refuse.
        events: Where pauses are written down.
        flying: The numbers of the calls on their way.
        park_after: Seconds without any accepted call after which the scope is parked.

    Attributes:
        diagnosis: The refusals of the present episode; ``None`` if there is none.
        canary: The call that tests whether the quota is back, while it is on its way.
        cut_mark: The first send after the last episode; a refusal of one before it comes late.
        refused_since: The instant since which no call was answered, if one was refused then.
    """

    log: SendLog
    cooldown: Cooldown
    findings: Findings
    times: RefusalTimes
    events: list[GateEvent]
    flying: set[int]
    park_after: float
    diagnosis: Diagnosis | None = field(default=None, init=False)
    canary: Send | None = field(default=None, init=False)
    cut_mark: int = field(default=0, init=False)
    refused_since: float | None = field(default=None, init=False)
    _lone: bool = field(default=False, init=False)
    _explained: bool = field(default=False, init=False)

    @property
    def hinted(self) -> bool:
        """Return whether the server said how long to wait, in the present episode."""
        return self.diagnosis is not None and self.diagnosis.hinted_until > -inf

    @property
    def _pauses(self) -> PauseLog:
        return PauseLog(self.cooldown, self.events)

    def advance(self, now: float) -> bool:
        """Take the step that is due by time alone."""
        state = self.cooldown.state
        if state is State.JUDGING and now >= self.cooldown.until:
            return self._judge(now)
        if state is State.CANARY and self.cooldown.next_time(now, self.times.patience) <= now:
            canary = self.canary
            self._recover(now, canary)  # it drew no refusal in time
            if canary is not None:
                self.cut_mark = canary.mark  # one that comes late all the same counts
            return True
        return False

    # -- calls -------------------------------------------------------------------------------

    def accepted(self, now: float, send: Send) -> bool:
        """Note that the server did not refuse *send*."""
        diagnosis, cooldown = self.diagnosis, self.cooldown
        if diagnosis is None:
            back = self._is_canary(send)
        else:
            diagnosis.pending.discard(send.mark)
            if cooldown.state is State.JUDGING:
                return self._judge_if_clear(now, diagnosis)
            # Sent after the last refused one: what was asked is over.
            later = cooldown.state is State.CLOSED and send.sent_at > diagnosis.empty.at
            back = later or (cooldown.state is State.CANARY and self._is_canary(send))
        if back:
            self._recover(now, send)
        return back

    def refused(
        self, now: float, send: Send, wait: float | None, cause: Cause, *, explained: bool
    ) -> bool:
        """Note that *send* was refused; the arguments are those of ``AdaptivePace.on_refused``."""
        if self.diagnosis is None and self._is_canary(send):
            # The first call after the scope was reopened: it pauses as after any refused canary.
            self.diagnosis, self._explained = Diagnosis(now, set()), False
            self.cooldown.cause = cause
        if self.diagnosis is not None:
            self._explained |= explained
            return self._refused_again(now, send, wait, self.diagnosis)
        if self._means_something(now, send, cause):
            self._explained = explained
            return self._begin(now, send, wait, cause)
        return False

    def explain(self, now: float) -> None:
        """Note that a call was answered whose tokens the refused ones had lacked.

        What it left over is free again, whatever wait was asked for while it was under way.
        """
        diagnosis = self.diagnosis
        if diagnosis is None:
            return
        self._explained = True
        diagnosis.drop_hints()
        if self.cooldown.state is State.CLOSED:
            self.cooldown.shorten(now + self.cooldown.own_pause(self.findings.search.pace))

    def lost(self, now: float, send: Send, *, left: bool) -> bool:
        """Note that *send* ended without an answer; *left* says whether it was sent at all."""
        over = False
        if self.diagnosis is not None:
            self.diagnosis.pending.discard(send.mark)
            if not left:
                self.diagnosis.unsent.add(send.mark)
            over = self._judge_if_clear(now, self.diagnosis)
        if self._is_canary(send):
            self.canary = None
            self.cooldown.on_canary_lost(now)
        return over

    def reopen(self, now: float) -> None:
        """Leave the parked state; what the server did before it is no part of any measurement."""
        if self.cooldown.parked is not None:
            self.diagnosis = self.canary = self.refused_since = None
            self.cut_mark = self.log.count
            self.log.restart()
            self.cooldown.reopen(now)

    def _is_canary(self, send: Send) -> bool:
        return self.canary is not None and self.canary.mark == send.mark

    # -- a refusal ---------------------------------------------------------------------------

    def _means_something(self, now: float, send: Send, cause: Cause) -> bool:
        """Return whether a refusal in an open scope begins an episode."""
        if self.cooldown.state is not State.OPEN or send.mark < self.cut_mark:
            return False  # parked; or a late refusal, of a call from before the last episode
        return not self.findings.forgives(now, cause, send.mark)

    def _begin(self, now: float, send: Send, wait: float | None, cause: Cause) -> bool:
        if self.refused_since is None:
            self.refused_since = now
        pending = {mark for mark in self.flying if mark > send.mark}
        self.diagnosis = diagnosis = Diagnosis(now, pending)
        diagnosis.add(now, send, wait)
        self.cooldown.judge(now, cause, self.log.last_at + self.times.patience)
        return self._judge_if_clear(now, diagnosis)

    def _refused_again(
        self, now: float, send: Send, wait: float | None, diagnosis: Diagnosis
    ) -> bool:
        diagnosis.add(now, send, wait)
        cooldown = self.cooldown
        if cooldown.state is State.JUDGING:
            cooldown.until = self.log.last_at + self.times.patience
            return self._judge_if_clear(now, diagnosis)
        if cooldown.state is State.CANARY and self._is_canary(send):
            self._canary_refused(now, diagnosis, hinted=wait is not None)
        elif wait is not None and cooldown.lengthen(now + wait):
            self._pauses.lengthened(now, hinted=True)
        return False

    def _canary_refused(self, now: float, diagnosis: Diagnosis, *, hinted: bool) -> None:
        self.canary = None
        cooldown = self.cooldown
        if self.refused_since is None:  # calls from before the pause were still answered
            self.refused_since = now
        if now - self.refused_since >= self.park_after:
            cooldown.park(Cause.NOTHING_ACCEPTED, None)
            return
        cooldown.refused_again(now, diagnosis.hinted_until, self.findings.search.pace)
        self._pauses.lengthened(now, hinted=hinted)

    # -- judging -----------------------------------------------------------------------------

    def _judge_if_clear(self, now: float, diagnosis: Diagnosis) -> bool:
        clear = self.cooldown.state is State.JUDGING and not diagnosis.pending
        return clear and self._judge(now)

    def _judge(self, now: float) -> bool:
        """Decide what the refusals mean, and pause if the quota is spent."""
        diagnosis, cooldown = self.diagnosis, self.cooldown
        assert diagnosis is not None
        meaning = diagnosis.meaning(self.log.count)
        binding = diagnosis.binding_until(self.log.count)
        self._lone = meaning is not Meaning.SPENT
        if meaning is Meaning.LEAK and binding > now:
            self._pauses.started(now, binding, hinted=True)
            cooldown.close(binding)
            return False
        if meaning is Meaning.LEAK:
            self._pauses.started(now, now, hinted=False)
            cooldown.episodes += 1
            self._finish(now, diagnosis, self.log.now(now), leak=True)
            return True
        hinted = self.hinted
        own = self._own_until(diagnosis)
        until = diagnosis.hinted_until if hinted else own
        if self._lone:
            until = max(until, self.findings.search.next_time(now))
        cooldown.close(until)
        self._pauses.started(now, until, hinted=hinted)
        return False

    def _own_until(self, diagnosis: Diagnosis) -> float:
        """Return when a pause ends that the server said nothing about."""
        pace = self.findings.search.pace
        if self._lone and pace is not None and self.cooldown.cause is Cause.THROTTLED:
            return diagnosis.at + self.times.patience / 2
        return diagnosis.at + self.cooldown.own_pause(pace)

    # -- the end -----------------------------------------------------------------------------

    def _recover(self, now: float, send: Send | None) -> None:
        """Go on, since the server took *send* after the pause."""
        diagnosis, self.canary = self.diagnosis, None
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
        self.diagnosis = None
        canaries = self.cooldown.canaries_refused
        self.findings.learn(
            now,
            diagnosis.episode(
                back, sent=self.log.count, leak=leak, canaries=canaries, taken_at=taken_at
            ),
            self.cooldown.cause,
            beside=diagnosis.beside(),
            explained=self._explained,
        )
        self._open(now)

    def _open(self, now: float) -> None:
        self.cooldown.resume()
        self.cut_mark = self.log.count
        self._pauses.ended(now)
