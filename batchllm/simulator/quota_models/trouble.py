"""Refusals that say nothing about the quota: at random, and of an endpoint that is dead."""

import random

from attrs import define, field

from batchllm.simulator.quota_models.hint_rules import HintRule, no_hint
from batchllm.simulator.quota_models.verdict import QuotaServer, Verdict


@define(eq=False)
class RandomRefusals:
    """A quota before which a share of the requests is refused at random, uncharged.

    Args:
        quota: Decides on the others.
        share: The share that is refused.
        rng: Where the chance comes from.
        hint: What such a refusal says about waiting; there is no real wait.
    """

    quota: QuotaServer
    share: float
    rng: random.Random
    hint: HintRule = field(default=no_hint, kw_only=True)
    refused: int = field(init=False, default=0)
    notes_departures: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.notes_departures = self.quota.notes_departures

    def arrive(self, now: float, tokens: float = 0.0, work: float = 0.0) -> Verdict:
        """Refuse at random, else ask the quota."""
        if self.rng.random() < self.share:
            self.refused += 1
            return Verdict(False, self.hint(0.0))
        return self.quota.arrive(now, tokens, work)

    def depart(self, now: float) -> None:
        """Pass it on to the quota."""
        self.quota.depart(now)

    def sustained(self, begin: float, end: float) -> float:
        """Return what the quota allows; a refusal at random costs nothing of it."""
        return self.quota.sustained(begin, end)


@define(eq=False)
class RefusesFrom:
    """A quota that refuses everything from one instant on.

    Args:
        quota: Decides until then.
        at: The instant in seconds.
    """

    quota: QuotaServer
    at: float
    notes_departures: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.notes_departures = self.quota.notes_departures

    def arrive(self, now: float, tokens: float = 0.0, work: float = 0.0) -> Verdict:
        """Ask the quota until the instant, then refuse without a hint."""
        return self.quota.arrive(now, tokens, work) if now < self.at else Verdict(False)

    def depart(self, now: float) -> None:
        """Pass it on to the quota."""
        self.quota.depart(now)

    def sustained(self, begin: float, end: float) -> float:
        """Return what the quota allows until the instant."""
        last = min(end, self.at)
        return self.quota.sustained(begin, last) if last > begin else 0.0
