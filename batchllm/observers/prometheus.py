"""Metrics in Prometheus' text exposition format (version 0.0.4), written by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from batchllm.observers.quantiles import Quantiles

__all__ = ["prometheus_text"]

_QUANTILES: Final = (0.5, 0.9, 0.99)
_ENDINGS: Final = ("successful", "failed", "skipped", "not_run")
_COUNTERS: Final = (
    ("retries", "Attempts that failed and were repeated."),
    ("throttled_calls", "Calls that met a rate limit."),
    ("rate_limits", "Pauses of a quota scope."),
    ("cooldown_seconds", "Seconds that scopes were paused."),
    ("hedges", "Second calls for the slow tail."),
    ("batches", "Batches that were started."),
)


def prometheus_text(metrics: Mapping[str, Any], durations: Quantiles, prefix: str) -> str:
    """The text for the numbers of a ``MetricsObserver``."""
    return "".join(f"{line}\n" for line in _lines(metrics, durations, prefix))


def _lines(metrics: Mapping[str, Any], durations: Quantiles, prefix: str) -> Iterator[str]:
    items = {name: metrics[name] for name in _ENDINGS}
    yield from _family(f"{prefix}_items_total", "Items by how they ended.", "status", items)
    failures = metrics["failures"]
    yield from _family(
        f"{prefix}_failures_total", "Failed items by category.", "category", failures
    )
    tokens = metrics["tokens"]
    yield from _family(f"{prefix}_tokens_total", "Tokens by kind.", "kind", tokens)
    for name, meaning in _COUNTERS:
        yield from _head(f"{prefix}_{name}_total", meaning, "counter")
        yield f"{prefix}_{name}_total {_number(metrics[name])}"
    yield from _summary(f"{prefix}_item_duration_seconds", durations)
    learned = metrics["quota_learned"].items()
    paces = {scope: pace for scope, known in learned if (pace := known.get("pace")) is not None}
    yield from _family(
        f"{prefix}_learned_pace", "Calls per second that a scope allows.", "scope", paces, "gauge"
    )
    parked = dict.fromkeys(metrics["parked"], 1)
    yield from _family(
        f"{prefix}_parked_scope", "Quota scopes that are parked.", "scope", parked, "gauge"
    )


def _head(name: str, meaning: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"


def _family(
    name: str, meaning: str, label: str, values: Mapping[str, Any], kind: str = "counter"
) -> Iterator[str]:
    if values:
        yield from _head(name, meaning, kind)
        for key, value in values.items():
            yield f'{name}{{{label}="{_escaped(key)}"}} {_number(value)}'


def _summary(name: str, durations: Quantiles) -> Iterator[str]:
    yield from _head(name, "Seconds that items took, waiting included.", "summary")
    for share in _QUANTILES:
        value = durations.at(share) if durations.count else math.nan
        yield f'{name}{{quantile="{share:g}"}} {_number(value)}'
    yield f"{name}_sum {_number(durations.total)}"
    yield f"{name}_count {durations.count}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return str(value) if isinstance(value, int) else repr(float(value))
