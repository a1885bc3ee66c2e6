"""Limits that are asked together and charged together: all or none."""

import math

from attrs import define, field

from batchllm.simulator.admission import AdmissionModel, ConcurrencyCap, Ticket
from batchllm.simulator.quota_models.hint_rules import HintRule, exact_hint
from batchllm.simulator.quota_models.moving import STEADY, Schedule
from batchllm.simulator.quota_models.verdict import ACCEPTED, Verdict


@define(eq=False)
class Limits:
    """One limit or several, on requests and on tokens, whose amounts may move with the clock.

    Spacing of one request per `w` seconds is a bucket of depth 1 that fills once in `w`.

    Args:
        requests: A limit that counts each request as one.
        more: Further limits on requests.
        tokens: A limit on tokens, if there is one.
        mean_tokens: Tokens of an average request; it turns the limit on tokens into requests.
        schedule: How all of them move.
        hint: What a refusal says about waiting.
    """

    requests: AdmissionModel
    more: tuple[AdmissionModel, ...] = ()
    tokens: AdmissionModel | None = field(default=None, kw_only=True)
    mean_tokens: float = field(default=1.0, kw_only=True)
    schedule: Schedule = field(default=STEADY, kw_only=True)
    hint: HintRule = field(default=exact_hint, kw_only=True)
    notes_departures: bool = field(default=False, init=False)
    _declared: list[tuple[AdmissionModel, float]] = field(init=False)
    _next_change: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        models = [self.requests, *self.more, *([self.tokens] if self.tokens else [])]
        self._declared = [(model, model.limit) for model in models]
        self._next_change = self.schedule.next_change(-math.inf)

    def arrive(self, now: float, tokens: float = 0.0, work: float = 0.0) -> Verdict:
        """Charge every limit, or none if one of them refuses."""
        if now >= self._next_change:
            self._follow(now)
        wait = self.requests.wait(now, 1.0)
        for model in self.more:
            wait = max(wait, model.wait(now, 1.0))
        if self.tokens is not None:
            wait = max(wait, self.tokens.wait(now, tokens))
        if wait > 0:
            for model, _ in self._declared:
                model.refuse(now, tokens if model is self.tokens else 1.0)
            return Verdict(False, self.hint(wait))
        self.requests.take(now, 1.0)
        for model in self.more:
            model.take(now, 1.0)
        if self.tokens is not None:
            self.tokens.take(now, tokens)
        return ACCEPTED

    def depart(self, now: float) -> None:
        """Nothing is kept of a request but its arrival."""

    def sustained(self, begin: float, end: float) -> float:
        """Return what the tightest limit allows, as it moves."""
        per_second = min(
            limit / model.window / (self.mean_tokens if model is self.tokens else 1.0)
            for model, limit in self._declared
        )
        return per_second * self.schedule.mean(begin, end) * (end - begin)

    def _follow(self, now: float) -> None:
        factor = self.schedule.factor(now)
        for model, declared in self._declared:
            model.resize(now, declared * factor)
        self._next_change = self.schedule.next_change(now)


@define(eq=False)
class ParallelCalls:
    """A cap on the requests that are served at once, and no other quota.

    Args:
        most: The cap.
        service: Mean seconds between the arrival of a request and the next one that can take its
            place, which is an answer and the way back and forth; `sustained` follows from it.
        hint: What a refusal says about waiting; the server itself can only guess a second.
    """

    most: int
    service: float = field(kw_only=True)
    hint: HintRule = field(default=exact_hint, kw_only=True)
    notes_departures: bool = field(default=True, init=False)
    _cap: ConcurrencyCap = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._cap = ConcurrencyCap(self.most)

    def arrive(self, now: float, tokens: float = 0.0, work: float = 0.0) -> Verdict:
        """Take a place, if one is free."""
        wait = self._cap.wait(now, 1.0)
        if wait > 0:
            return Verdict(False, self.hint(wait))
        self._cap.take(now, 1.0)
        return ACCEPTED

    def depart(self, now: float) -> None:
        """Give a place back."""
        self._cap.settle(now, Ticket(now, 1.0), 0.0)

    def sustained(self, begin: float, end: float) -> float:
        """Return how many answers all places together can make."""
        return self.most / self.service * (end - begin)
