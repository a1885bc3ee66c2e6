"""A report: the numbers of a run, ready to be drawn or read by a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from batchllm.reports.counting import Counting
from batchllm.reports.course import Course
from batchllm.reports.details import Raw

__all__ = ["Report"]


@frozen(kw_only=True)
class Report:
    """Everything that a report shows.

    Attributes:
        name: Of the run.
        version: Of the batchllm that ran it.
        state: How it ended, in words.
        counting: Its numbers.
        course: What was sampled over time; empty without a journal.
        seconds: Of work; 0 if that is not known.
        started: When the first run began, in seconds since 1970; ``None`` if that is not known.
        joints: Seconds at which later runs went on.
        runs: One line of facts per run.
        failed_calls: Calls that led to no answer, by kind.
        open_calls: Calls under way, or cut off; those may be billed.
        refused: Rows of lines that were wrong and never sent, some of them.
        refused_lines: How many there are.
        not_run: Items whose turn never came.
        warnings: What went wrong beside the items.
        settings: Of the last run.
        strategies: What names the strategies.
        items: Those that are shown one by one.
        keeps_prompts: Whether any prompt was kept.
    """

    name: str
    version: str
    state: str
    counting: Counting
    course: Course
    seconds: float = 0.0
    started: float | None = None
    joints: Sequence[float] = ()
    runs: Sequence[dict[str, Any]] = ()
    failed_calls: dict[str, int]
    open_calls: int = 0
    refused: Sequence[str] = ()
    refused_lines: int = 0
    not_run: int = 0
    warnings: Sequence[str] = ()
    settings: dict[str, Any]
    strategies: Sequence[dict[str, Any]] = ()
    items: Sequence[Raw] = ()
    keeps_prompts: bool = False
