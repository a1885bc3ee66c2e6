"""Rows as text for a terminal, as Markdown for the documentation, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from benchmarks.quota.runs import Row

Cells = tuple[str, ...]

_HOUR: Final = ("0-5 min", "10-60 min", "worst", "refused", "after 5", "silence s")
_JOB: Final = ("x ideal", "worst", "refused", "worst", "silence s")
_COLD: Final = ("refused 1st min", "worst", "used")
_DEAD: Final = ("last send s", "refused", "silence s")


def _share(value: float) -> str:
    return f"{100 * value:.1f}"


def _fine(value: float) -> str:
    return f"{100 * value:.2f}"


def _figures(row: Row) -> Cells:
    """Return the figures that matter for the row's kind; all shares in percent."""
    silence = f"{row.most('silence'):.0f}" + (" parked" if row.most("parked") else "")
    match row.spec.case.part:
        case "hour" | "shared":
            return (
                _share(row.mean("first")),
                _share(row.mean("used")),
                _share(row.least("used")),
                _fine(row.mean("refused")),
                _fine(row.mean("refused late")),
                silence,
            )
        case "job" | "shared job":
            return (
                f"{row.mean('x ideal'):.2f}",
                f"{row.most('x ideal'):.2f}",
                _fine(row.mean("refused")),
                _fine(row.most("refused")),
                silence,
            )
        case "cold":
            return (
                f"{row.mean('refused first minute'):.0f}",
                f"{row.most('refused first minute'):.0f}",
                _share(row.mean("used")),
            )
        case "dead":
            return (f"{row.most('last send'):.0f}", f"{row.mean('refused by quota'):.0f}", silence)


def head(part: str) -> Cells:
    """Return the names of the columns for a part."""
    heads = {"job": _JOB, "shared job": _JOB, "cold": _COLD, "dead": _DEAD}
    return heads.get(part, _HOUR)


def line(row: Row) -> str:
    """Return one row as text, with what it misses."""
    spec = row.spec
    cells = "".join(f"{cell:>11}" for cell in _figures(row))
    missed = f"  <- {'; '.join(row.missed)}" if row.missed else ""
    return f"{spec.name:40} {spec.rule:9}{spec.hints:>5}{cells}{missed}"


def title(group: str, part: str) -> str:
    """Return the head of a part as text."""
    cells = "".join(f"{cell:>11}"[-11:] for cell in (h[:10] for h in head(part)))
    return f"\n{group + ', ' + part:40} {'rule':9}{'hints':>5}{cells}"


def markdown(rows: Iterable[Row]) -> str:
    """Return all rows as tables, one per group and kind of run; a missed bound is starred."""
    lines: list[str] = []
    last: tuple[str, str] | None = None
    for row in rows:
        spec = row.spec
        part = (spec.group, spec.case.part)
        if part != last:
            columns = ("server", "rule", "hints", *head(part[1]))
            lines += ["", f"### {_TITLES[part[1]].format(group=part[0].capitalize())}", ""]
            lines += [
                "| " + " | ".join(columns) + " |",
                "|---|---|---|" + "--:|" * len(head(part[1])),
            ]
            last = part
        star = " \\*" if row.missed else ""
        cells = (spec.name + star, spec.rule, spec.hints, *_figures(row))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines).strip() + "\n"


_TITLES: Final = {
    "hour": "{group} servers, one hour",
    "job": "Short jobs of 2,000 items at 50 a second",
    "shared": "Three clients on one quota of 600 a minute, one hour",
    "shared job": "Three clients on one quota of 600 a minute, 500 items",
    "dead": "A server that refuses everything from second 100 on",
    "cold": "A cold start against 60 a minute",
}


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows with all their figures, for comparison by a program."""
    return [
        {
            "group": row.spec.group,
            "part": row.spec.case.part,
            "server": row.spec.name,
            "rule": row.spec.rule,
            "hints": row.spec.hints,
            "seconds": row.spec.seconds,
            "missed": list(row.missed),
            "mean": {name: round(row.mean(name), 5) for name in row.runs[0]},
            "least": {name: round(row.least(name), 5) for name in row.runs[0]},
            "most": {name: round(row.most(name), 5) for name in row.runs[0]},
        }
        for row in rows
    ]
