"""Reports of journals and of results: each item is counted, and some are kept in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from batchllm.core import BatchResult, Category, WorkItemResult, where_raised
from batchllm.journal import Brief, JournalReader, RunRecord, Survey, open_reader
from batchllm.reports.counting import Counting, Seen
from batchllm.reports.course import Axis, Course, Moment, Stretch
from batchllm.reports.details import Raw
from batchllm.reports.picking import Picker
from batchllm.reports.report import Report
from batchllm.reports.words import date_and_time

__all__ = ["report_of_journal", "report_of_result"]

_RUNS: Final = 100
"""Runs that are listed, the last ones; the sums are of all."""
_REFUSED: Final = 100


def report_of_journal(path: Path) -> Report:
    """Read the journal at *path*, also while a run writes it.

    Raises:
        JournalError: It is not there, or no journal, or cannot be read.
    """
    with open_reader(path) as journal:
        survey, runs = journal.survey(), journal.runs()
        axis = Axis([_stretch(survey, run) for run in runs])
        counting, picker = Counting(), Picker()
        strategies = survey.strategies()
        model = _model_of(strategies)
        for brief in survey.items():
            seen = _seen(brief, axis, model)
            counting.add(seen)
            picker.add(seen)
        counts, driver = journal.counts(), journal.driver()
        numbers = picker.picked([slow.number for slow in counting.slowest])
        items = [raw for n in numbers if (raw := _raw(journal, n, axis, model)) is not None]
        last = runs[-1] if runs else None
        settings = survey.settings(last.number) if last else None
        return Report(
            name=path.name.removesuffix(".journal"),
            version=settings.version if settings else "",
            state=_state(last, going_on=driver is not None),
            counting=counting,
            course=_course(survey, runs, axis),
            seconds=axis.length,
            started=runs[0].started if runs else None,
            joints=axis.joints,
            runs=[_facts(survey, run) for run in runs[-_RUNS:]],
            failed_calls=survey.failed_calls(),
            open_calls=counts["calls_without_end"],
            refused=[text.decode() for text in journal.refused()[:_REFUSED]],
            refused_lines=counts["refused"],
            not_run=last.counts.get("not_run", 0) if last else 0,
            settings=settings.config if settings else {},
            strategies=strategies,
            items=items,
            keeps_prompts=any(raw.prompt is not None for raw in items),
        )


def _stretch(survey: Survey, run: RunRecord) -> Stretch:
    """Return from when to when a run worked, also if it was killed or goes on."""
    ended = run.ended
    if ended is None:
        samples = survey.samples(run.number)
        known = [samples[-1].at if samples else None, survey.last_finish(run.number)]
        ended = max((moment for moment in known if moment is not None), default=run.started)
    return Stretch(run.number, run.started, ended)


def _state(run: RunRecord | None, *, going_on: bool) -> str:
    if going_on:
        return "it goes on"
    if run is None or run.ended is None:
        return "it ended without a word, as if it was killed"
    return f"{run.cause}: {run.reason}"


def _facts(survey: Survey, run: RunRecord) -> dict[str, Any]:
    settings = survey.settings(run.number)
    return {
        "number": run.number,
        "began": date_and_time(run.started),
        "seconds": None if run.ended is None else run.ended - run.started,
        "succeeded": run.counts.get("succeeded"),
        "failed": run.counts.get("failed"),
        "cost": run.counts.get("cost"),
        "ended": run.cause or "without a word",
        "reason": run.reason or "",
        "inputs": settings.inputs,
        "version": settings.version,
    }


def _course(survey: Survey, runs: Sequence[RunRecord], axis: Axis) -> Course:
    moments = [
        [
            Moment(at, sample.data)
            for sample in survey.samples(run.number)
            if (at := axis.at(run.number, sample.at)) is not None
        ]
        for run in runs
    ]
    return Course.of(moments, axis.length)


def _model_of(strategies: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the model that every item was asked of, if the journal has only one strategy."""
    if len(strategies) != 1:
        return None
    model = strategies[0].get("model")
    name = model.get("model") if isinstance(model, Mapping) else None
    return name if isinstance(name, str) else None


def _seen(brief: Brief, axis: Axis, model: str | None) -> Seen:
    return Seen(
        brief.number,
        brief.item_id,
        brief.success,
        brief.error,
        brief.category,
        brief.model if isinstance(brief.model, str) else model,
        brief.usage,
        brief.cost,
        brief.attempts,
        brief.spans,
        axis.at(brief.run, brief.finished),
    )


def _raw(journal: JournalReader, number: int, axis: Axis, model: str | None) -> Raw | None:
    """Return an item in full; ``None`` if a run has taken it away meanwhile."""
    stored = journal.survey().item(number)
    if stored is None:
        return None
    fields = stored.fields
    metadata = fields.get("metadata") or {}
    answered_by = metadata.get("model")
    return Raw(
        item_id=fields["id"],
        source=stored.key[0],
        success=stored.success,
        prompt=fields.get("prompt"),
        output=fields["output"],
        error=fields["error"],
        category=fields["category"],
        model=answered_by if isinstance(answered_by, str) else model,
        usage=fields["usage"] or {},
        cost=stored.cost,
        attempts=fields["attempts"],
        spans=fields["spans"],
        failures=[
            f"attempt {call.attempt}: {call.error or 'no answer arrived; it may be billed'}"
            for call in journal.calls(stored.key)
        ],
        metadata=metadata,
        at=axis.at(stored.run, stored.finished),
    )


def report_of_result(result: BatchResult[Any, Any]) -> Report:
    """Read a result that is in memory. There is no course of it over time."""
    counting, picker = Counting(), Picker()
    failed: Counter[str] = Counter()
    for number, one in enumerate(result.results):
        seen = _seen_of(number, one)
        counting.add(seen)
        picker.add(seen)
        failed.update(end.error_category for end in one.attempt_failures if end is not None)
    if not result.results:
        _take_sums(counting, result)
    numbers = picker.picked([slow.number for slow in counting.slowest])
    end = result.termination
    return Report(
        name="batch",
        version="",
        state=f"{end.cause.value}: {end.reason}",
        counting=counting,
        course=Course(
            held=dict(result.stats.get("held_back", {})),
            episodes=result.stats.get("rate_limit_count", 0),
        ),
        seconds=result.wall_time,
        failed_calls=dict(failed),
        not_run=result.not_run,
        warnings=result.warnings,
        settings={},
        items=[_raw_of(result.results[number]) for number in numbers],
    )


def _seen_of(number: int, one: WorkItemResult[Any, Any]) -> Seen:
    is_bug = one.error_category == Category.PROGRAM_ERROR and one.exception is not None
    return Seen(
        number,
        one.item_id,
        one.success,
        one.error,
        one.error_category,
        _answered_by(one),
        one.token_usage,
        one.cost,
        one.attempts,
        one.spans,
        None,
        where_raised(one.exception) if is_bug and one.exception else "",
    )


def _answered_by(one: WorkItemResult[Any, Any]) -> str | None:
    model = (one.metadata or {}).get("model")
    return model if isinstance(model, str) else None


def _raw_of(one: WorkItemResult[Any, Any]) -> Raw:
    return Raw(
        item_id=one.item_id,
        success=one.success,
        output=one.output,
        error=one.error,
        category=one.error_category,
        model=_answered_by(one),
        usage=one.token_usage,
        cost=one.cost,
        attempts=one.attempts,
        spans=one.spans,
        failures=[f"call {n}: {end.error}" for n, end in enumerate(one.attempt_failures, 1) if end],
        metadata=one.metadata,
    )


def _take_sums(counting: Counting, result: BatchResult[Any, Any]) -> None:
    """Take what the batch counted itself, where its results were not kept."""
    tally = result.tally
    counting.items, counting.succeeded = tally.total, tally.succeeded
    if tally.failed:
        counting.kinds["failed"] = tally.failed
    if tally.skipped:
        counting.not_tried["skipped"] = tally.skipped
    counting.tokens.update({kind: n for kind, n in tally.usage.items() if isinstance(n, int)})
    counting.cost = tally.cost
