"""What the command counts for itself while a run goes on: it keeps no results to count later."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from batchllm.core import BatchResult, WorkItemResult

__all__ = ["Tallies", "limited_by"]

_RATE_SECONDS = 15.0
_CATEGORIES_SHOWN = 5


@define(eq=False)
class Tallies:
    """Counts over the rows written so far.

    Attributes:
        total: Lines of the input, once they are counted.
        done: Rows written.
        failed: Those without an answer.
        tokens: Input and output together.
        most_in_flight: The most calls at once that were seen.
    """

    total: int | None = None
    done: int = 0
    failed: int = 0
    tokens: int = 0
    most_in_flight: int = 0
    waits: Counter[str] = field(factory=Counter)
    categories: Counter[str] = field(factory=Counter)
    examples: dict[str, str] = field(factory=dict)
    _marks: deque[tuple[float, int]] = field(factory=deque, init=False)

    def add(self, result: WorkItemResult[Any, Any], error: str | None) -> None:
        """Count a result, whose row says *error*."""
        self.done += 1
        usage = result.token_usage
        self.tokens += usage.get("total_tokens", 0)
        timing = result.timing
        if timing.attempts:
            self.waits["admission_wait"] += timing.admission_wait  # type: ignore[assignment]
            self.waits["cooldown_wait"] += timing.cooldown_wait  # type: ignore[assignment]
            self.waits["backoff"] += timing.backoff  # type: ignore[assignment]
        if not result.success:
            self.failed += 1
            category = result.error_category or "unknown"
            self.categories[category] += 1
            self.examples.setdefault(category, f"{result.item_id}: {error}")

    def rate(self, now: float) -> float:
        """Rows per second lately. To be asked now and then."""
        marks = self._marks
        marks.append((now, self.done))
        while len(marks) > 2 and marks[1][0] <= now - _RATE_SECONDS:
            marks.popleft()
        since, before = marks[0]
        return (self.done - before) / (now - since) if now > since else 0.0

    def failures(self) -> list[str]:
        """A line for each of the commonest kinds of failure, with an example."""
        lines = [
            f"{count:,} × {category}, e.g. {self.examples[category]}"
            for category, count in self.categories.most_common(_CATEGORIES_SHOWN)
        ]
        others = len(self.categories) - _CATEGORIES_SHOWN
        return [*lines, f"and {others} more kinds"] if others > 0 else lines


def limited_by(result: BatchResult[Any, Any], tallies: Tallies, concurrency: int) -> str | None:
    """What held the run back, as far as that can be known; ``None`` where nothing did."""
    scopes: Mapping[str, Any] = result.stats.get("scopes", {})
    paces = [scope.pace for scope in scopes.values() if scope.pace is not None]
    episodes = result.stats.get("rate_limit_count", 0)
    if paces:
        times = "once" if episodes == 1 else f"{episodes} times"
        return (
            f"the provider's quota, found to be about {60 * sum(paces):,.0f} requests a minute "
            f"(refused {times})"
        )
    if episodes or any(scope.limits for scope in scopes.values()):
        return "the quota"
    waited = tallies.waits["admission_wait"]
    if tallies.most_in_flight >= concurrency and waited > 0:
        return f"its {concurrency} calls in flight, not by a quota; raise --concurrency"
    return None
