"""The figures of a report: a few facts for people, and all of it as JSON for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from batchllm.observers import Quantiles
from batchllm.reports.counting import MOST_KINDS
from batchllm.reports.report import Report
from batchllm.reports.words import clean, dollars, seconds

__all__ = ["facts_of", "figures_of"]

_SHARES: Final = (0.5, 0.9, 0.95, 0.99)


def facts_of(report: Report) -> Iterator[tuple[str, str, str]]:
    """Yield the facts at the head of a report: a name, a value, and more about it."""
    counting, course = report.counting, report.course
    failed = counting.kinds.total()
    others = {**counting.not_tried, **({"not run": report.not_run} if report.not_run else {})}
    more = ", ".join(f"{count:,} {kind}" for kind, count in others.items())
    yield "Items", f"{counting.items:,}", more
    share = 100 * counting.succeeded / counting.items if counting.items else 0.0
    yield "Answers", f"{counting.succeeded:,}", f"{share:.4g} %"
    yield "Failures", f"{failed:,}", ", ".join(kind for kind, _ in counting.kinds.most_common(3))
    if report.seconds:
        rate = counting.items / report.seconds
        yield "Time", seconds(report.seconds), f"{rate:,.3g} items a second"
    latency = counting.latency
    if latency.count:
        late = f"95 % in {seconds(latency.at(0.95))}, 99 % in {seconds(latency.at(0.99))}"
        yield "Latency", seconds(latency.at(0.5)), f"median; {late}"
    tokens = counting.tokens
    if tokens:
        sums = f"{tokens['input_tokens']:,} in, {tokens['output_tokens']:,} out"
        yield "Tokens", f"{tokens['input_tokens'] + tokens['output_tokens']:,}", sums
    if counting.cost is not None:
        each = counting.cost / counting.items
        yield "Cost", dollars(counting.cost), f"{dollars(1000 * each)} for 1,000 items"
    retried = sum(report.failed_calls.values())
    if counting.calls:
        parts = [f"{retried:,} without an answer"] if retried else []
        parts += [f"{report.open_calls:,} without an end"] if report.open_calls else []
        yield "Calls", f"{counting.calls:,}", ", ".join(parts)
    if course.held:
        held = course.held.get("cooldown", 0.0)
        paused = f"{seconds(held)} in which calls waited" if held else ""
        yield "Pauses", f"{course.episodes:,}", paused


def figures_of(report: Report) -> dict[str, Any]:
    """Return the numbers of a report as JSON has them."""
    counting, course = report.counting, report.course
    return {
        "name": report.name,
        "state": report.state,
        "items": counting.items,
        "succeeded": counting.succeeded,
        "failed": dict(counting.kinds.most_common()),
        "not_tried": dict(counting.not_tried),
        "not_run": report.not_run,
        "refused_lines": report.refused_lines,
        "seconds": round(report.seconds, 3),
        "tokens": dict(counting.tokens),
        "cost": counting.cost,
        "latency": _quantiles(counting.latency),
        "item_seconds": _quantiles(counting.whole),
        "input_tokens": _quantiles(counting.tokens_in),
        "output_tokens": _quantiles(counting.tokens_out),
        "attempts": {str(n): count for n, count in sorted(counting.attempts.items())},
        "waits": {name: round(spent, 3) for name, spent in counting.waits.items()},
        "held_back": {cause: round(spent, 3) for cause, spent in course.held.items()},
        "pauses": course.episodes,
        "limits": {clean(name): _use(curve) for name, curve in course.used.items()},
        "calls": counting.calls,
        "calls_without_answer": report.failed_calls,
        "calls_without_end": report.open_calls,
        "models": {
            clean(name): {
                "items": sums.items,
                "failed": sums.failed,
                "tokens": dict(sums.tokens),
                "cost": sums.cost,
            }
            for name, sums in counting.models.items()
        },
        "errors": [
            {"count": count, "category": category, "example": clean(example)}
            for count, category, _, example in counting.errors.ranked(MOST_KINDS)
        ],
        "slowest": [
            {"id": clean(slow.item_id), "seconds": round(slow.seconds, 3)}
            for slow in counting.slowest
        ],
        "runs": list(report.runs),
    }


def _use(curve: Sequence[float | None]) -> dict[str, float]:
    """Return the share of a limit that was in use while it was known."""
    known = [share for share in curve if share is not None]
    mean = sum(known) / len(known) if known else 0.0
    return {"mean": round(mean, 3), "max": round(max(known, default=0.0), 3)}


def _quantiles(values: Quantiles) -> dict[str, float] | None:
    if not values.count:
        return None
    found = {f"p{100 * share:g}": float(f"{values.at(share):.4g}") for share in _SHARES}
    return {"mean": float(f"{values.mean:.4g}"), **found, "max": float(f"{values.most:.4g}")}
