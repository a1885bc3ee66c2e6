"""The numbers of a run, counted item by item in memory that does not grow with them. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field, frozen

from batchllm.core import SPANS_PER_CALL, Category, ErrorGroups
from batchllm.observers import Quantiles
from batchllm.reports.time_bins import TimeBins

__all__ = ["MOST_KINDS", "Counting", "ModelSums", "Seen", "Slow"]

MOST_KINDS: Final = 30
"""Kinds of errors that a report lists, and warnings."""
_SLOWEST: Final = 20
_MOST_MODELS: Final = 50
"""Models that are kept apart; what answers under yet another name is counted as others."""
_OTHERS: Final = "others"
_WAITS: Final = ("admission", "cooldown", "calls", "backoff")
_NOT_TRIED: Final = frozenset({Category.SKIPPED, Category.STOPPED, Category.PARKED})


@frozen
class Seen:
    """One item, as far as it is counted.

    Attributes:
        number: By which it is found again.
        item_id: Its id.
        success: Whether it has an answer.
        error: Why not.
        category: The kind of that failure.
        model: The model that answered, if that is known.
        usage: Tokens by kind.
        cost: In US dollars, ``None`` if no price was known.
        attempts: Attempts that were made.
        spans: Seconds, four per call as in ``WorkItemResult``.
        at: Seconds on the axis of time at which it was finished; ``None`` if that is not known.
        where: The line of the user's code that failed, if it is a bug there.
    """

    number: int
    item_id: str
    success: bool
    error: str | None
    category: str | None
    model: str | None
    usage: Mapping[str, Any]
    cost: float | None
    attempts: int
    spans: tuple[float, ...]
    at: float | None
    where: str = ""

    @property
    def failed(self) -> bool:
        """Return whether it was tried and has no answer."""
        return not self.success and self.category not in _NOT_TRIED

    @property
    def kind(self) -> str:
        """Its failure in a word, or why it was not tried; ``""`` if it has an answer."""
        return "" if self.success else self.category or "unknown"


@frozen(order=True)
class Slow:
    """An item that took long; ``seconds`` of being called, ``waited`` of everything else."""

    seconds: float
    number: int
    waited: float = field(order=False)
    item_id: str = field(order=False)
    kind: str = field(order=False)
    attempts: int = field(order=False)


@define(eq=False)
class ModelSums:
    """The items of one model, their tokens and their cost; ``None`` if no price was known."""

    items: int = 0
    failed: int = 0
    tokens: Counter[str] = field(factory=Counter)
    cost: float | None = None


@define(eq=False)
class Counting:
    """Counts items.

    Attributes:
        items: How many there are.
        succeeded: Those with an answer.
        kinds: Those that failed, by kind.
        not_tried: Those that were left out, or had no turn, by the reason.
        tokens: By kind.
        cost: US dollars; ``None`` if no price was known.
        models: The same by model; ``""`` if it is not known.
        attempts: Items by number of attempts.
        calls: Calls that were made for them.
        waits: Seconds of all items by what they were spent on; ``calls`` is being called.
        latency: Seconds of the calls that gave answers.
        whole: Seconds from the first wait of an item to its end.
        tokens_in: Per item.
        tokens_out: Per item.
        errors: Failures that say the same.
        over_time: Answers, failures, and tokens in and out.
    """

    items: int = 0
    succeeded: int = 0
    kinds: Counter[str] = field(factory=Counter)
    not_tried: Counter[str] = field(factory=Counter)
    tokens: Counter[str] = field(factory=Counter)
    cost: float | None = None
    models: dict[str, ModelSums] = field(factory=dict)
    attempts: Counter[int] = field(factory=Counter)
    calls: int = 0
    waits: dict[str, float] = field(factory=lambda: dict.fromkeys(_WAITS, 0.0))
    latency: Quantiles = field(factory=Quantiles)
    whole: Quantiles = field(factory=Quantiles)
    tokens_in: Quantiles = field(factory=Quantiles)
    tokens_out: Quantiles = field(factory=Quantiles)
    errors: ErrorGroups = field(factory=ErrorGroups)
    over_time: TimeBins = field(factory=lambda: TimeBins(4))
    _slowest: list[Slow] = field(factory=list, init=False)

    def add(self, seen: Seen) -> None:
        """Count one more item."""
        self.items += 1
        if seen.success:
            self.succeeded += 1
        elif seen.failed:
            self.kinds[seen.kind] += 1
            example = f"{seen.item_id}: {seen.error}"
            self.errors.add(seen.kind, example, seen.error or "", seen.where)
        else:
            self.not_tried[seen.kind] += 1
        if seen.attempts:
            self.attempts[seen.attempts] += 1
        self._add_tokens(seen)
        self._add_times(seen)

    def _add_tokens(self, seen: Seen) -> None:
        sums = self._model(seen.model or "")
        sums.items += 1
        sums.failed += seen.failed
        for kind, count in seen.usage.items():
            if isinstance(count, int):
                sums.tokens[kind] += count
                self.tokens[kind] += count
        if seen.cost is not None:
            sums.cost = (sums.cost or 0.0) + seen.cost
            self.cost = (self.cost or 0.0) + seen.cost
        tokens_in = seen.usage.get("input_tokens") or 0
        tokens_out = seen.usage.get("output_tokens") or 0
        if tokens_in:
            self.tokens_in.add(tokens_in)
        if tokens_out:
            self.tokens_out.add(tokens_out)
        if seen.at is not None:
            self.over_time.add(seen.at, (seen.success, seen.failed, tokens_in, tokens_out))

    def _model(self, name: str) -> ModelSums:
        if name not in self.models and len(self.models) >= _MOST_MODELS:
            name = _OTHERS
        return self.models.setdefault(name, ModelSums())

    def _add_times(self, seen: Seen) -> None:
        spans = seen.spans
        if not spans:
            return
        for n, name in enumerate(_WAITS):
            self.waits[name] += sum(spans[n::SPANS_PER_CALL])
        # One that never started, since the item ended while it waited for it, took no time at all.
        self.calls += sum(1 for time in spans[2::SPANS_PER_CALL] if time > 0)
        calls, whole = sum(spans[2::SPANS_PER_CALL]), sum(spans)
        self.whole.add(whole)
        if seen.success:
            self.latency.add(spans[-SPANS_PER_CALL + 2])
        slowest = self._slowest
        if len(slowest) < _SLOWEST or calls > slowest[0].seconds:
            slow = Slow(calls, seen.number, whole - calls, seen.item_id, seen.kind, seen.attempts)
            heapq.heappush(slowest, slow)
            if len(slowest) > _SLOWEST:
                heapq.heappop(slowest)

    @property
    def slowest(self) -> list[Slow]:
        """The items that were called for the longest time, the slowest first."""
        return sorted(self._slowest, reverse=True)
