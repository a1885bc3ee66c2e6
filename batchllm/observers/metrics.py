"""Numbers about a batch, or about many, while they run and afterwards."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from batchllm.core import BaseObserver, Category, ProcessingEvent
from batchllm.observers.prometheus import prometheus_text
from batchllm.observers.quantiles import Quantiles

__all__ = ["THROTTLED", "MetricsObserver"]

_NOT_RUN: Final = frozenset({Category.STOPPED, Category.PARKED})
THROTTLED: Final = frozenset({Category.RATE_LIMIT, Category.OVERLOADED})
"""Failures that met a limit of the server; the repetition of such a call is no retry."""

_COUNTED: Final = {
    ProcessingEvent.PROCESSING_STARTED: "batches",
    ProcessingEvent.ITEM_STARTED: "started",
    ProcessingEvent.ITEM_SKIPPED: "skipped",
    ProcessingEvent.RATE_LIMIT_HIT: "rate_limits",
    ProcessingEvent.HEDGE_STARTED: "hedges",
}

_NOT_LEARNED: Final = frozenset({"scope", "timestamp"})

_Data = Mapping[str, Any]


class MetricsObserver(BaseObserver):
    """Counts what happens, over all runs that it watches, in memory that does not grow.

    Example::

        metrics = MetricsObserver()
        await run_batch(prompts, strategy, observers=[metrics])
        print(metrics.to_json())
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, as between two batches whose numbers are to stand apart.

        Scopes that are parked, and what was learned of quotas, are forgotten as well.
        """
        self._counts: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._durations = Quantiles()
        self._cooldown_seconds = 0.0
        self._batch_seconds = 0.0
        self._learned: dict[str, dict[str, float | None]] = {}
        self._parked: dict[str, str] = {}

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Count one event."""
        counted, read = _COUNTED.get(event), _READ.get(event)
        if counted is not None:
            self._count(counted)
        elif read is not None:
            read(self, data)

    async def get_metrics(self) -> dict[str, Any]:
        """The numbers so far, as :meth:`snapshot` gives them."""
        return self.snapshot()

    def snapshot(self) -> dict[str, Any]:
        """The numbers so far.

        Returns:
            Items: ``total_items`` (those that ended), ``successful``, ``failed``, ``skipped``,
            ``not_run`` (the batch ended before, or the scope was parked), ``started``.
            ``failures``: failed items by category. Durations of items that were called, in
            seconds: ``avg_duration``, ``p50_duration``, ``p90_duration``, ``p99_duration`` (to
            2 %), ``max_duration``. ``retries``: attempts that failed and were repeated, without
            ``throttled_calls``, those that met a limit. ``rate_limits``: pauses of a scope, with
            ``cooldown_seconds`` in all. ``tokens``: by kind. ``quota_learned``: by scope
            ``pace`` and ``rate`` per second, ``calls`` in flight, as far as they were learned.
            ``parked``: causes by scope. ``batches``, ``batch_seconds`` (of those that ended),
            ``hedges``.
        """
        counts, durations = self._counts, self._durations
        ended = ("successful", "failed", "skipped", "not_run")
        return {
            "total_items": sum(counts[name] for name in ended),
            **{name: counts[name] for name in (*ended, "started")},
            "failures": dict(self._failures),
            "avg_duration": durations.mean,
            "p50_duration": durations.at(0.5),
            "p90_duration": durations.at(0.9),
            "p99_duration": durations.at(0.99),
            "max_duration": durations.most,
            **{name: counts[name] for name in ("retries", "throttled_calls", "rate_limits")},
            "cooldown_seconds": self._cooldown_seconds,
            "tokens": dict(self._tokens),
            "quota_learned": {scope: dict(pace) for scope, pace in self._learned.items()},
            "parked": dict(self._parked),
            **{name: counts[name] for name in ("hedges", "batches")},
            "batch_seconds": self._batch_seconds,
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """The numbers as JSON."""
        return json.dumps(self.snapshot(), indent=indent, ensure_ascii=False)

    def to_prometheus(self, prefix: str = "batchllm") -> str:
        """The numbers in Prometheus' text format, to be served or written to a file.

        Args:
            prefix: What the names begin with.
        """
        return prometheus_text(self.snapshot(), self._durations, prefix)

    def _count(self, name: str) -> None:
        self._counts[name] += 1

    def _item_completed(self, data: _Data) -> None:
        self._count("successful")
        self._take(data)

    def _item_failed(self, data: _Data) -> None:
        category = str(data.get("error_category") or Category.UNKNOWN)
        if category in _NOT_RUN:
            self._count("not_run")
        else:
            self._count("failed")
            self._failures[category] += 1
        self._take(data)

    def _take(self, data: _Data) -> None:
        if data.get("attempts"):
            self._durations.add(data.get("duration", 0.0))
        self._tokens.update(data.get("tokens") or {})

    def _item_retried(self, data: _Data) -> None:
        throttled = data.get("error_category") in THROTTLED
        self._count("throttled_calls" if throttled else "retries")

    def _cooldown_ended(self, data: _Data) -> None:
        self._cooldown_seconds += data.get("seconds", 0.0)

    def _quota_learned(self, data: _Data) -> None:
        # An event has what was learned by it: a pace, or a number of calls; the other stays.
        learned = self._learned.setdefault(data["scope"], {})
        for name, value in data.items():
            if name not in _NOT_LEARNED:
                learned[name] = None if value is None or math.isinf(value) else value

    def _scope_parked(self, data: _Data) -> None:
        self._parked[data["scope"]] = str(data.get("cause", ""))

    def _batch_ended(self, data: _Data) -> None:
        self._batch_seconds += data.get("duration", 0.0)


# By the class and not by the instance, so that a copy counts for itself, and can be pickled.
_READ: Final[Mapping[ProcessingEvent, Callable[[MetricsObserver, _Data], None]]] = {
    ProcessingEvent.PROCESSING_COMPLETED: MetricsObserver._batch_ended,
    ProcessingEvent.ITEM_COMPLETED: MetricsObserver._item_completed,
    ProcessingEvent.ITEM_FAILED: MetricsObserver._item_failed,
    ProcessingEvent.ITEM_RETRY: MetricsObserver._item_retried,
    ProcessingEvent.COOLDOWN_ENDED: MetricsObserver._cooldown_ended,
    ProcessingEvent.QUOTA_LEARNED: MetricsObserver._quota_learned,
    ProcessingEvent.SCOPE_PARKED: MetricsObserver._scope_parked,
}
