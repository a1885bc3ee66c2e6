"""Sums over the results of a run, kept while it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define, evolve, field

from batchllm.core.results import WorkItemResult
from batchllm.core.usage import TokenUsage, add_usage

__all__ = ["Tally"]


@define(eq=False)
class Tally:
    """Running sums over results, so that nothing ever counts over all of them again.

    Attributes:
        total: Results.
        succeeded: Those with an answer.
        failed: Those that were tried and have none.
        skipped: Those that a middleware left out.
        not_run: Those whose turn never came.
        usage: Tokens of this run.
        cost: US dollars of this run.
        before: Items that an earlier run finished, whether their results were replayed or not.
        usage_before: Tokens of the results that were replayed.
        cost_before: US dollars of the results that were replayed.
        unpriced: Results of this run that took tokens, and of which no price is known.
    """

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    not_run: int = 0
    usage: TokenUsage = field(factory=TokenUsage)
    cost: float | None = None
    before: int = 0
    usage_before: TokenUsage = field(factory=TokenUsage)
    cost_before: float | None = None
    unpriced: int = 0

    def add(self, result: WorkItemResult[Any, Any]) -> None:
        """Count one more result."""
        self.total += 1
        if result.success:
            self.succeeded += 1
        elif result.skipped:
            self.skipped += 1
        elif result.not_run:
            self.not_run += 1
        else:
            self.failed += 1
        usage, cost = result.token_usage, result.cost
        if result.replayed:
            self.before += 1
            _add_to(self.usage_before, usage)
            if cost is not None:
                self.cost_before = (self.cost_before or 0.0) + cost
            return
        _add_to(self.usage, usage)
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost
        elif usage:
            self.unpriced += 1

    def merge(self, other: Tally) -> None:
        """Add the sums of *other*."""
        self.total += other.total
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.skipped += other.skipped
        self.not_run += other.not_run
        self.usage = add_usage(self.usage, other.usage) or TokenUsage()
        if other.cost is not None:
            self.cost = (self.cost or 0.0) + other.cost
        self.before += other.before
        self.usage_before = add_usage(self.usage_before, other.usage_before) or TokenUsage()
        if other.cost_before is not None:
            self.cost_before = (self.cost_before or 0.0) + other.cost_before
        self.unpriced += other.unpriced

    @classmethod
    def of(cls, results: Iterable[WorkItemResult[Any, Any]]) -> Tally:
        """Return the tally of *results*."""
        tally = cls()
        for result in results:
            tally.add(result)
        return tally

    def copy(self) -> Tally:
        """Return one that stays as this one is now."""
        return evolve(
            self,
            usage=TokenUsage(**self.usage),
            usage_before=TokenUsage(**self.usage_before),
        )


def _add_to(sums: TokenUsage, usage: TokenUsage | None) -> None:
    if not usage:
        return  # also `None`, of a result that a middleware has made
    for key, value in usage.items():
        sums[key] = sums.get(key, 0) + value  # type: ignore[literal-required,operator]
