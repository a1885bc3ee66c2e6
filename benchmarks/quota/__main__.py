"""Run the benchmark and print its tables; the exit code is 1 if a bound is missed.

    python -m benchmarks.quota                # all that is ours: 3 seeds, an hour each
    python -m benchmarks.quota --group tuned --seeds 1 --jobs 2
    python -m benchmarks.quota --servers "cap 24" --rules batchllm aimd cubic --hints no
    python -m benchmarks.quota --short --accept tests/benchmarks/pace.json
    python -m benchmarks.quota --rules batchllm declared aimd cubic --jobs 2 \\
        --write docs/reference/pace-benchmark.md

Everything happens in virtual time and by seeds, so that a run gives the same figures anywhere.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.quota.cases import Case
from benchmarks.quota.report import as_json, from_json, line, markdown, title
from benchmarks.quota.runs import GROUPS, RULES, Group, Row, plan, run
from benchmarks.quota.short import SHORT, accepted

_BEGIN, _END = "<!-- begin table -->", "<!-- end table -->"


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quota", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--group", choices=(*GROUPS, "all"), default="all")
    parser.add_argument("--servers", default="", help="only names that contain this")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=["batchllm", "declared"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--hints", choices=("yes", "no", "both"), default="both")
    parser.add_argument("--minutes", type=float, help="of an hour's run")
    parser.add_argument("--short", action="store_true", help="the rows of the tests, seed 0")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="write all figures there, one row a line")
    parser.add_argument("--load", type=Path, nargs="+", help="take rows written so; run nothing")
    parser.add_argument("--accept", type=Path, help="write the table of the tests there")
    parser.add_argument("--write", type=Path, help="replace the table of this page")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run what was asked for."""
    asked = _arguments(given)
    begun = time.perf_counter()
    rows: list[Row] = []
    for row in _found(asked):
        part = (row.spec.group, row.spec.case.part)
        if not rows or part != (rows[-1].spec.group, rows[-1].spec.case.part):
            print(title(*part))
        print(line(row), flush=True)
        rows.append(row)
    missed = sum(bool(row.missed) for row in rows)
    print(f"\n{len(rows)} rows in {time.perf_counter() - begun:.0f} s, {missed} miss a bound")
    if asked.json:
        asked.json.write_text(as_json(rows), encoding="utf-8")
    if asked.accept:
        asked.accept.write_text(json.dumps(accepted(rows), indent=1) + "\n", encoding="utf-8")
    if asked.write:
        _replace(asked.write, markdown(rows))
    return int(missed > 0 or not rows)


def _found(asked: argparse.Namespace) -> Iterable[Row]:
    if asked.load:
        return [row for file in asked.load for row in from_json(file.read_text(encoding="utf-8"))]
    if asked.short:
        return run(SHORT, range(1), asked.jobs)

    def chosen(case: Case) -> bool:
        return asked.servers.lower() in case.name.lower()

    groups: list[Group] = list(GROUPS) if asked.group == "all" else [asked.group]
    hints = ["no", "yes"] if asked.hints == "both" else [asked.hints]
    specs = plan(groups, asked.rules, hints, minutes=asked.minutes, chosen=chosen)
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    return run(specs, seeds, asked.jobs)


def _replace(page: Path, table: str) -> None:
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        sys.exit(f"{page} has no lines {_BEGIN} and {_END} to write between.")
    page.write_text(f"{before}{_BEGIN}\n\n{table}\n{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
