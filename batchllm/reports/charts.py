"""The charts of a report as plain values, which the page's script draws. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from batchllm.observers import Quantiles
from batchllm.reports.course import Course
from batchllm.reports.report import Report
from batchllm.reports.words import clip, seconds

__all__ = ["Chart", "charts_of"]

Chart = dict[str, Any]

_BINS: Final = 30
_BARS: Final = 12
_MOST_LIMITS: Final = 4
_MOST_ATTEMPTS: Final = 10
_NAME: Final = 60
"""Characters of a name beside a bar."""


def charts_of(report: Report) -> list[Chart]:
    """Return the charts that the numbers of a report suffice for, in the order of the page."""
    return [*_over_time(report), *_histograms(report), *_bars(report)]


def _over_time(report: Report) -> Iterator[Chart]:
    at, (answers, failures, tokens_in, tokens_out) = report.counting.over_time.rates(report.seconds)
    if at:
        lines = {"answers": answers, **({"failures": failures} if any(failures) else {})}
        yield _time_chart(report, "throughput", "Throughput", "per second", at, lines)
    course = report.course
    if course.at:
        names = {"in_flight": "in flight", "waiting": "waiting", "sleeping": "in backoff"}
        series = {names[key]: curve for key, curve in course.curves.items()}
        yield _time_chart(report, "in-flight", "Items in work", "items", course.at, series)
        limits = _limits_of(course)
        if limits:
            title = "Quota in use"
            yield _time_chart(report, "quota", title, "% of the limit", course.at, limits)
    if any(tokens_in) or any(tokens_out):
        tokens = {"in": tokens_in, "out": tokens_out}
        yield _time_chart(report, "tokens", "Tokens", "per second", at, tokens)


def _limits_of(course: Course) -> dict[str, list[float | None]]:
    """Return the use of the limits that were known for the longest time, in per cent."""
    known = {name: sum(share is not None for share in curve) for name, curve in course.used.items()}
    longest = sorted(known, key=lambda name: -known[name])[:_MOST_LIMITS]
    return {
        clip(name, _NAME): [None if s is None else 100 * s for s in course.used[name]]
        for name in longest
    }


def _time_chart(
    report: Report,
    name: str,
    title: str,
    unit: str,
    at: Sequence[float],
    series: dict[str, Any],
) -> Chart:
    return {
        "name": name,
        "kind": "time",
        "title": title,
        "unit": unit,
        "at": [round(moment, 3) for moment in at],
        "series": [
            {"name": label, "values": [_rounded(value) for value in values]}
            for label, values in series.items()
        ],
        "pauses": [[round(begin, 3), round(end, 3)] for begin, end in report.course.pauses],
        "joints": [round(joint, 3) for joint in report.joints],
        "seconds": round(report.seconds, 3),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _histograms(report: Report) -> Iterator[Chart]:
    counting = report.counting
    if counting.latency.count:
        yield _times("latency", "Latency of answers", counting.latency)
    if counting.whole.count:
        yield _times("whole", "Time per item, with all waits", counting.whole)
    if counting.tokens_in.count:
        yield _whole_numbers("tokens-in", "Input tokens per item", counting.tokens_in)
    if counting.tokens_out.count:
        yield _whole_numbers("tokens-out", "Output tokens per item", counting.tokens_out)


def _times(name: str, title: str, values: Quantiles) -> Chart:
    bins = values.grouped(_BINS)
    return _histogram(
        name,
        title,
        [seconds((low + high) / 2) for low, high, _ in bins],
        [f"{seconds(low)} – {seconds(high)}" for low, high, _ in bins],
        [count for *_, count in bins],
    )


def _whole_numbers(name: str, title: str, values: Quantiles) -> Chart:
    # Edges lie between whole numbers; of narrow bins some have none in them, and are left out.
    bins = [
        (math.floor(low) + 1 if low else 0, math.floor(high), count)
        for low, high, count in values.grouped(_BINS)
        if count or not low or math.floor(high) > math.floor(low)
    ]
    ranges = [f"{low:,}" if low >= high else f"{low:,} – {high:,}" for low, high, _ in bins]
    middles = [f"{(low + max(low, high)) // 2:,}" for low, high, _ in bins]
    return _histogram(name, title, middles, ranges, [count for *_, count in bins])


def _histogram(
    name: str, title: str, labels: list[str], ranges: list[str], counts: list[int]
) -> Chart:
    return {
        "name": name,
        "kind": "histogram",
        "title": title,
        "unit": "items, bins grow",
        "labels": labels,
        "ranges": ranges,
        "series": [{"name": "items", "values": counts}],
    }


def _bars(report: Report) -> Iterator[Chart]:
    counting = report.counting
    errors = counting.kinds.most_common(_BARS)
    if errors:
        yield _bar_chart("errors", "Failures by kind", "items", errors)
    calls = sorted(report.failed_calls.items(), key=lambda one: -one[1])[:_BARS]
    if calls:
        yield _bar_chart("failed-calls", "Calls without an answer", "calls", calls)
    waits = [(name, spent) for name, spent in _waits(report) if spent > 0]
    if waits:
        yield _bar_chart("waits", "What items spent their time on", "% of all", waits)
    attempts = _attempts(report)
    if attempts:
        yield _bar_chart("attempts", "Attempts per item", "items", attempts)
    costs = [(name or "unknown", sums.cost or 0.0) for name, sums in counting.models.items()]
    costs = sorted((one for one in costs if one[1]), key=lambda one: -one[1])[:_BARS]
    if costs:
        yield _bar_chart("cost", "Cost by model", "US dollars", costs)


def _waits(report: Report) -> list[tuple[str, float]]:
    waits = report.counting.waits
    names = {
        "calls": "being called",
        "admission": "waiting for room or pace",
        "cooldown": "waiting for a cooldown",
        "backoff": "waiting to be tried again",
    }
    whole = sum(waits.values()) or 1.0
    return [(text, 100 * waits[name] / whole) for name, text in names.items()]


def _attempts(report: Report) -> list[tuple[str, float]]:
    counts = report.counting.attempts
    few = [(str(n), float(counts[n])) for n in sorted(counts) if n < _MOST_ATTEMPTS]
    many = sum(count for n, count in counts.items() if n >= _MOST_ATTEMPTS)
    return [*few, *([(f"{_MOST_ATTEMPTS} or more", float(many))] if many else [])]


def _bar_chart(name: str, title: str, unit: str, bars: Sequence[tuple[str, float]]) -> Chart:
    return {
        "name": name,
        "kind": "bars",
        "title": title,
        "unit": unit,
        "labels": [clip(label, _NAME) for label, _ in bars],
        "series": [{"name": unit, "values": [_rounded(value) for _, value in bars]}],
    }
