"""A table of runs, and one run in detail, as text."""

from __future__ import annotations

from typing import Final

from tests.real.measure import Measured, complaints

__all__ = ["HEADING", "details_of", "row_of"]

HEADING: Final = (
    f"{'scenario':<22} {'loop':<8} {'items':>5} {'ideal s':>8} {'took s':>8} {'x ideal':>8} "
    f"{'refused':>14} {'lost':>5}  ended"
)
_LAST_LINES: Final = 4


def row_of(measured: Measured) -> str:
    """Return one row of the table; a broken bound is marked at its end."""
    scenario, ideal = measured.scenario, measured.scenario.ideal
    ideal_text = f"{ideal:.1f}" if ideal else "-"
    times = f"{measured.took / ideal:.2f}" if ideal else "-"
    share = measured.refused / max(1, measured.requests)
    refused = f"{measured.refused} ({share:.1%})"
    mark = "  BROKEN" if complaints(measured) else ""
    return (
        f"{scenario.name:<22} {measured.backend:<8} {scenario.items:>5} {ideal_text:>8} "
        f"{measured.took:>8.1f} {times:>8} {refused:>14} {measured.lost:>5}  {measured.ended}{mark}"
    )


def details_of(measured: Measured, *, whole: bool = False) -> str:
    """Return what a user saw: the end of the log, the summary, what is wrong with the run.

    Args:
        measured: The run.
        whole: All of the log and the timeline of the gates, to find out why.
    """
    log = measured.log if whole else measured.log[-_LAST_LINES:]
    parts = [
        *(f"  log  {line}" for line in log),
        *(f"  gate {line}" for line in measured.timeline if whole),
        *(f"       {line}" for line in measured.summary.splitlines()),
        f"       answers by status {dict(measured.statuses)}, calls sent {measured.sent}, "
        f"failed {dict(measured.failed)}, not run {measured.not_run}",
        *(f"  BROKEN {line}" for line in complaints(measured)),
    ]
    return "\n".join(parts)
