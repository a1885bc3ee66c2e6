"""The end of a run for a script: one JSON object."""

from __future__ import annotations

from typing import Any

from batchllm.cli.ending import Ending
from batchllm.cli.exits import ExitCode

__all__ = ["end_as_json"]


def end_as_json(ending: Ending, code: ExitCode) -> dict[str, Any]:
    """Return what the summary says, under names that stay.

    Args:
        ending: The end.
        code: The exit code that it has.
    """
    result, journal = ending.result, ending.journal
    end = result.termination
    return {
        "exit_code": int(code),
        "ended_by": end.cause.value,
        "reason": end.reason,
        "problem": ending.problem,
        "items": result.total_items,
        "succeeded": result.succeeded,
        "failed": result.failed,
        "not_run": result.not_run,
        "finished_before": ending.tallies.before if journal is None else journal.taken_over,
        "failures": dict(ending.tallies.categories),
        "output": ending.output,
        "rows": ending.tallies.done,
        "journal": None if journal is None else journal.path,
        "tokens": dict(result.tally.usage),
        "cost": result.cost,
        "seconds": round(result.wall_time, 3),
        "limited_by": ending.limited_by,
        "goes_on": None if end.complete and ending.problem is None else ending.command,
    }
