"""A batch shown to people: one line, a block of text, or a table for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import nsmallest
from typing import Any, cast

from batchllm.core.batch_data import BatchData
from batchllm.core.error_groups import ErrorGroups, where_raised
from batchllm.core.error_info import Category
from batchllm.core.html import facts_as_html, list_as_html, rows_as_html
from batchllm.core.wording import as_clock, counted, dollars

__all__ = ["facts_of", "html_of", "one_line", "summary_of"]

# Lines of each kind, so that a summary fits a screen of 24 with the sums above them.
_ERRORS_SHOWN = 5
_WARNINGS_SHOWN = 5
_RESULTS_SHOWN = 10
_COLUMNS = ("item_id", "output or error", "error_category")
_CAUSES = ("admission_wait", "cooldown_wait", "backoff")


def one_line(batch: BatchData[Any, Any]) -> str:
    """Give the counts, the time and the ending in one line."""
    counts = ", ".join(f"{number:,} {name}" for name, number in _counts(batch))
    end = "" if batch.termination.complete else f", ended by {batch.termination.cause.value}"
    return (
        f"<BatchResult: {counted(batch.total_items + batch.never_read, 'item')}: {counts}; "
        f"{_seconds(batch.wall_time)}{end}>"
    )


def summary_of(batch: BatchData[Any, Any]) -> str:
    """Give a block of text: one fact per line, failures and warnings below."""
    rows = list(facts_of(batch))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {text}" for name, text in rows]
    failures = list(_failure_lines(batch))
    if failures:
        lines += ["", "Failures", *(f"  {line}" for line in failures)]
    warnings = _shortened(batch.warnings, _WARNINGS_SHOWN)
    if warnings:
        lines += ["", "Warnings", *(f"  {line}" for line in warnings)]
    return "\n".join(lines)


def html_of(batch: BatchData[Any, Any]) -> str:
    """Return these facts as a table of HTML, and the first results below; every text escaped."""
    parts = [
        facts_as_html(facts_of(batch)),
        list_as_html("Failures", list(_failure_lines(batch))),
        list_as_html("Warnings", _shortened(batch.warnings, _WARNINGS_SHOWN)),
    ]
    first = nsmallest(_RESULTS_SHOWN, batch.results, key=lambda one: one.submission_index)
    if first:
        of = "" if len(first) == len(batch.results) else f" of {len(batch.results):,}"
        rows = [(r.item_id, r.output if r.success else r.error, r.error_category) for r in first]
        parts.append(rows_as_html(f"The first {len(first)}{of}", _COLUMNS, rows))
    return "".join(parts)


def _counts(batch: BatchData[Any, Any]) -> Iterator[tuple[str, int]]:
    yield "succeeded", batch.succeeded
    yield "failed", batch.failed
    if batch.skipped:
        yield "skipped", batch.skipped
    if batch.not_run:
        yield "not run", batch.not_run


def facts_of(batch: BatchData[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of a batch: the name of each fact, and the fact."""
    counts = ", ".join(f"{number:,} {name}" for name, number in _counts(batch))
    yield "Items", f"{batch.total_items + batch.never_read:,}: {counts}"
    if batch.tally.before:
        yield "Before", _before(batch)
    yield "Tokens", _tokens(batch)
    yield "Cost", _cost(batch)
    budget = batch.stats.get("budget")
    if isinstance(budget, Mapping):
        yield "Budget", ", ".join(_budget(cast("Mapping[str, Any]", budget)))
    yield "Time", _time(batch)
    waits = _waits(batch)
    if waits:
        yield "Waits", ", ".join(f"{cause} {_seconds(time)}" for cause, time in waits)
    limited_by = batch.stats.get("limited_by")
    if limited_by:
        yield "Limited by", _one_line_of(limited_by)
    yield "Ended", _ending(batch)


def _tokens(batch: BatchData[Any, Any]) -> str:
    usage = batch.tally.usage
    if not usage:
        return "unknown"
    text = f"{batch.total_input_tokens:,} in, {batch.total_output_tokens:,} out"
    if batch.total_cached_tokens:
        text += f", {batch.total_cached_tokens:,} cached ({batch.cache_hit_rate():.0f} % of in)"
    if usage.get("reasoning_tokens"):
        text += f", {usage.get('reasoning_tokens', 0):,} for reasoning"
    return text


def _cost(batch: BatchData[Any, Any]) -> str:
    if batch.cost is None:
        return "unknown"
    text, unpriced = dollars(batch.cost), batch.tally.unpriced
    return f"{text}, and that of {counted(unpriced, 'item')} unknown" if unpriced else text


def _budget(budget: Mapping[str, Any]) -> Iterator[str]:
    """Say what was booked of each bound, and by how much it could be passed."""
    if budget["max_cost"] is not None:
        yield f"{dollars(budget['cost'])} of {dollars(budget['max_cost'])}"
        if budget["uncertain_cost"]:
            yield f"{dollars(budget['uncertain_cost'])} of it for calls that may not be billed"
    if budget["max_tokens_total"] is not None:
        yield f"{budget['tokens']:,} of {budget['max_tokens_total']:,} tokens"
        if budget["uncertain_tokens"]:
            yield f"{budget['uncertain_tokens']:,} of them of calls that may not be billed"
    if budget["most_unbounded"]:
        beyond = f"{budget['most_unbounded']:,} × {budget['longest_answer']:,} tokens"
        yield f"could be passed by {beyond} at most, since no max_tokens bounds the answers"


def _before(batch: BatchData[Any, Any]) -> str:
    tally = batch.tally
    text = f"{counted(tally.before, 'item')} finished by earlier runs and not called for again"
    if tally.cost_before is not None:
        text += f" ({dollars(tally.cost_before)} then)"
    return text


def _time(batch: BatchData[Any, Any]) -> str:
    text = _seconds(batch.wall_time)
    done = batch.succeeded + batch.failed
    if batch.wall_time > 0 and done:
        text += f", {done / batch.wall_time:,.1f} items/s"
    return text


def _waits(batch: BatchData[Any, Any]) -> list[tuple[str, float]]:
    """Return the seconds by cause over all items, as the run or its results have them."""
    given = batch.stats.get("waits")
    sums: dict[str, float] = dict.fromkeys(_CAUSES, 0.0)
    if isinstance(given, Mapping):
        sums = dict(given)
    else:
        for timing in (result.timing for result in batch.results):
            for cause in _CAUSES:
                sums[cause] += getattr(timing, cause)
    return [(cause.replace("_", " "), time) for cause, time in sums.items() if time > 0]


def _ending(batch: BatchData[Any, Any]) -> str:
    end = batch.termination
    item = "" if end.item_id is None else f" (item {end.item_id})"
    return f"{end.cause.value}: {_one_line_of(end.reason)}{item}"


def _failure_lines(batch: BatchData[Any, Any]) -> Iterator[str]:
    """Give the commonest errors, each with the first item that failed with it."""
    groups = ErrorGroups()
    for result in batch.results:
        if not (result.success or result.skipped or result.not_run):
            error = result.exception
            is_bug = result.error_category == Category.PROGRAM_ERROR
            groups.add(
                result.error_category or "unknown",
                f"{result.item_id}: {_one_line_of(result.error)}",
                result.error or "",
                where_raised(error) if is_bug and error else "",
            )
    yield from groups.lines(_ERRORS_SHOWN)


def _shortened(lines: Sequence[str], most: int) -> list[str]:
    shown = [_one_line_of(line) for line in lines[:most]]
    more = len(lines) - most
    return [*shown, f"and {more:,} more"] if more > 0 else shown


def _one_line_of(text: object, most: int = 200) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _seconds(time: float) -> str:
    if time < 60:
        return f"{time:.1f} s" if time >= 1 else f"{time:.3f} s"
    return as_clock(time, unit=True)
