"""The findings of one scope about its server, and the reading of a refusal by them.

A pace, a number of calls in flight, noise, and overloads that mean nothing explain the same
refusals in different ways, so each episode and each refusal is shown to all of them in one order:
what forgives a refusal hides it from those that come after. How a scope pauses is no part of it.
"""

from __future__ import annotations

from math import inf
from typing import Final

from attrs import define, field

from batchllm.policy.cap_search import CapSearch
from batchllm.policy.cooldown import Cause
from batchllm.policy.events import CapLearned, GateEvent, PaceLearned
from batchllm.policy.learned import Learned
from batchllm.policy.noise import Noise
from batchllm.policy.overload import OverloadLeaks
from batchllm.policy.quota_search import SLACK, QuotaSearch
from batchllm.policy.send_log import SendLog
from batchllm.policy.windows import Episode

__all__ = ["Findings"]

_SOON: Final = 10.0
"""Seconds of a wait that was asked for up to which the first refusal suggests no cap: caps ask for
a fixed time that is longer (LiteLLM: 60 s); untested, one of nine leaves 6 % for five minutes."""


@define(eq=False)
class Findings:
    """The pace, the cap and the noise of one scope. Live state, for one clock.

    Args:
        log: What the scope sent, and what was refused of it.
        events: Where it reports what was learned.
        learned_before: What an earlier run found out.
        slack: Seconds that a late start may make up for.
    """

    log: SendLog
    events: list[GateEvent]
    learned_before: Learned | None = None
    slack: float = SLACK
    search: QuotaSearch = field(init=False)
    cap: CapSearch = field(factory=CapSearch, init=False)
    noise: Noise = field(factory=Noise, init=False)
    _overload: OverloadLeaks = field(factory=OverloadLeaks, init=False)

    def __attrs_post_init__(self) -> None:
        self.search = QuotaSearch(self.log, self.learned_before, self.slack)

    @property
    def bind(self) -> bool:
        """Return whether a pace or a cap is kept."""
        return self.search.rate is not None or self.cap.held is not None

    def next_time(self, now: float, patience: float) -> float:
        """Return when the next call may start; a held cap stands in place of a pace.

        Args:
            now: The present instant.
            patience: Seconds after which a call that drew no refusal counts as accepted.
        """
        if self.cap.held is not None:
            return self.log.last_at + self.cap.gap(patience)
        if self.search.rate is None:
            return -inf
        if self.noise.doubted:
            if self.noise.judge(now, patience):
                self._conclude()
            elif self.noise.asks(now, patience):
                return now
        return self.search.next_time(now)

    def on_send(self, now: float) -> None:
        """Note a start in an open scope."""
        if self.cap.held is not None:
            self.cap.on_send()
            self.search.delay(now)
            return
        if self.search.rate is None:  # nearly always: there is no pace to keep
            return
        self.search.on_send(now)
        if self.noise.share:
            self.noise.on_send(now, below=self.search.early)

    def on_unsent(self) -> None:
        """Note that the last start never left."""
        self.noise.on_unsent()
        if self.cap.held is None:
            self.search.on_unsent()

    def on_answer(self, now: float, beside: int) -> bool:
        """Note that the server answered a call; returns whether nothing binds the scope since.

        Args:
            now: When.
            beside: Calls that were in flight when it was sent, as far as none of them was refused.
        """
        cap, overload = self.cap, self._overload
        if overload.known:
            overload.on_accepted()
        before = cap.believed
        unbound = cap.on_answer(beside) and self.search.rate is None
        if cap.believed != before:
            self.events.append(CapLearned(at=now, calls=cap.believed))
        return unbound

    def forgives(self, now: float, cause: Cause, mark: int) -> bool:
        """Note a refusal of call *mark* that begins no episode if this returns true."""
        if cause is Cause.OVERLOADED and not self.cap.trying and self._overload.forgives():
            return True
        held = self.cap.held
        if self.cap.on_refused(mark, self.log.count):
            return True
        if held is not None:
            self.events.append(CapLearned(at=now, calls=None))
        doubted = self.noise.doubted
        if self.noise.forgives(below=self.search.early):
            return True
        if doubted:
            self.search.go_back()
        return False

    def learn(
        self, now: float, episode: Episode, cause: Cause | None, *, beside: int, explained: bool
    ) -> None:
        """Learn from an episode that is over.

        Args:
            now: When it ended.
            episode: What happened.
            cause: Why the server refused.
            beside: Calls that the server had taken when it refused.
            explained: Whether a limit came with the refusals, so that nothing has to be measured.
        """
        if cause is Cause.OVERLOADED:
            self._overload.on_judged(leak=episode.leak)
        # A lone call that was refused twice was no leak: a cap is full until an answer comes.
        spent = not episode.leak or episode.canaries > 0
        # A cap does not know when calls will end: who says that it is soon counts over time.
        soon = episode.hinted and episode.pause <= _SOON
        first = not self.search.episodes and not soon
        if explained or self.cap.on_episode(beside, first=first, spent=spent):
            self.search.skip(episode)
        elif cause is Cause.OVERLOADED:
            self.search.pass_over(episode)
        else:
            self._measure(now, episode)

    def _conclude(self) -> None:
        """Take back what noise did to the pace, or the doubt that there is any."""
        if self.noise.share:
            self.search.take_back()
        else:
            self.search.go_back()

    def _measure(self, now: float, episode: Episode) -> None:
        search, before = self.search, self.search.rate
        calls = search.calls_since
        early = episode.leak and episode.single and search.too_soon
        search.learn(episode, now, forgiving=self.noise.share > 0)
        if before is not None and search.rate is not None:
            kept = self.noise.on_leak(
                now, before, search.rate, calls, episode.empty.at,
                early=early, window=episode.is_window,
            )  # fmt: skip
            if kept is not None:
                search.keep(kept, now)
        self.events.append(PaceLearned(at=now, rate=search.rate or 0.0))
