"""The counts that the command keeps during a run: it keeps no results to count later."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from attrs import define, field

from batchllm.core import Category, ErrorGroups, WorkItemResult

__all__ = ["Tallies"]

_RATE_SECONDS = 15.0
_ERRORS_SHOWN = 5


@define(eq=False)
class Tallies:
    """Counts over the rows written so far.

    Attributes:
        total: Lines of the input, once they are counted.
        done: Rows written.
        failed: Those that were tried, or could not be, and have no answer.
        not_run: Lines whose turn never came; they have no row.
        cut_off: Lines whose call was cancelled in flight; they have none either.
        before: Lines that an earlier run finished.
        tokens: Input and output together.
        cost: US dollars; ``None`` while no price is known.
        categories: How often each kind of failure came.
    """

    total: int | None = None
    done: int = 0
    failed: int = 0
    not_run: int = 0
    cut_off: int = 0
    before: int = 0
    tokens: int = 0
    cost: float | None = None
    categories: Counter[str] = field(factory=Counter, init=False)
    _groups: ErrorGroups = field(factory=ErrorGroups, init=False)
    _marks: deque[tuple[float, int]] = field(factory=deque, init=False)

    def add(self, result: WorkItemResult[Any, Any], row: dict[str, Any]) -> None:
        """Count a result and its row."""
        if result.not_run:
            self.not_run += 1
            return
        if result.error_category == Category.CANCELLED:
            self.cut_off += 1
            return
        self.done += 1
        if result.replayed:
            return
        self.tokens += result.token_usage.get("total_tokens", 0)
        if result.cost is not None:
            self.cost = (self.cost or 0.0) + result.cost
        if not result.success:
            self.failed += 1
            category = result.error_category or "unknown"
            self.categories[category] += 1
            who = "" if row["id"] is None else f"{row['id']}: "
            self._groups.add(category, f"{who}{row['error']}", str(row["error"]))

    def rate(self, now: float) -> float:
        """Rows per second lately. To be asked now and then."""
        marks = self._marks
        marks.append((now, self.done))
        while len(marks) > 2 and marks[1][0] <= now - _RATE_SECONDS:
            marks.popleft()
        since, before = marks[0]
        return (self.done - before) / (now - since) if now > since else 0.0

    def failures(self) -> list[str]:
        """Return a line for each of the commonest errors, with its first example."""
        return self._groups.lines(_ERRORS_SHOWN)
