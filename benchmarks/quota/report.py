"""Rows as text for a terminal, as Markdown for the documentation, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import asdict, fields

from benchmarks.quota.cases import ALWAYS
from benchmarks.quota.runs import RIVALS, Row, Spec

Cells = tuple[str, ...]
_Place = tuple[str, str, str]

_COMPARED: Final = ("hour", "job", "shared", "shared job")
_ORDER: Final = ("tuned", "untuned", "special")
_RULES: Final = {"batchllm": "", "declared": ", the quota declared"}
_HOUR: Final = ("0-5 min", "10-60 min", "worst", "refused", "after 5", "silence s")
_JOB: Final = ("x ideal", "worst", "refused", "worst", "silence s")
_COLD: Final = ("refused", "worst", "used")
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
    cells = "".join(f"{cell:>11}" for cell in head(part))
    return f"\n{group + ', ' + part:40} {'rule':9}{'hints':>5}{cells}"


def markdown(rows: Sequence[Row]) -> str:
    """Return all rows as tables: one per group and kind of run, the rivals beside ours."""
    rivals = {_place(row.spec, row.spec.rule): row for row in rows if row.spec.rule in RIVALS}
    tables: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.spec.rule not in RIVALS:
            kind = (row.spec.group, row.spec.case.part, row.spec.rule)
            tables.setdefault(kind, []).append(row)
    # What knows nothing comes first; otherwise the order of the lists of servers stays.
    kinds = sorted(tables, key=lambda kind: (_ORDER.index(kind[0]), kind[2]))
    return "\n\n".join(_table(kind, tables[kind], rivals) for kind in kinds) + "\n"


def _table(kind: tuple[str, str, str], rows: Sequence[Row], rivals: Mapping[_Place, Row]) -> str:
    group, part, rule = kind
    beside = RIVALS if rivals and rule == "batchllm" and part in _COMPARED else ()
    columns = ("server", "hints", *head(part), *(rival.upper() for rival in beside), "bounds")
    numbers = len(columns) - 3
    lines = [
        f"### {_TITLES[part].format(group=group.capitalize())}{_RULES[rule]}",
        "",
        _cells(columns),
        _cells(["---", "---", *["--:"] * numbers, "---"]),
    ]
    for row in rows:
        others = (_beside(rivals.get(_place(row.spec, rival))) for rival in beside)
        lines.append(_cells((row.spec.name, row.spec.hints, *_figures(row), *others, _bounds(row))))
    return "\n".join(lines)


def _cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _place(spec: Spec, rule: str) -> _Place:
    return spec.group, spec.name, rule


def _beside(rival: Row | None) -> str:
    """Return a rival's use, or the time of its job, and what it had refused."""
    if rival is None:
        return "–"
    job = "job" in rival.spec.case.part
    first = f"{rival.mean('x ideal'):.2f}" if job else _share(rival.mean("used"))
    return f"{first} / {_share(rival.mean('refused'))}"


def _bounds(row: Row) -> str:
    checks = row.spec.case.bounds(row.spec.rule, row.spec.hints)
    text = ", ".join(check.text for check in checks if check not in ALWAYS)
    return f"**missed:** {'; '.join(row.missed)}" if row.missed else text


_TITLES: Final = {
    "hour": "{group} servers, an hour of an endless backlog",
    "job": "Short jobs of 2,000 items at 50 a second",
    "shared": "Three clients on one quota of 600 a minute, one hour",
    "shared job": "Three clients on one quota of 600 a minute, short jobs",
    "dead": "A server that refuses everything from second 100 on",
    "cold": "A cold start against 60 a minute: calls refused in the first minute",
}


def as_json(rows: Iterable[Row]) -> str:
    """Return the rows with all their figures, one row a line."""
    lines = [
        json.dumps(
            {
                "part": row.spec.case.part,
                **asdict(row.spec),
                "missed": row.missed,
                "runs": [{name: round(value, 5) for name, value in r.items()} for r in row.runs],
            }
        )
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def from_json(text: str) -> list[Row]:
    """Read rows back, to put tables together from several runs of the benchmark."""
    names = [each.name for each in fields(Spec)]
    return [
        Row(Spec(**{name: row[name] for name in names}), tuple(row["runs"]))
        for row in map(json.loads, text.splitlines())
    ]
