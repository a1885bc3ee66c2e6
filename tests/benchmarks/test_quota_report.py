"""The command of the benchmark: bounds are data, and a missed one shows in every form of output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quota.__main__ import main
from benchmarks.quota.cases import Check
from benchmarks.quota.report import as_json, line, markdown
from benchmarks.quota.runs import GROUPS, Row, Spec, measure, plan

COLD = ["--group", "special", "--servers", "60/min, bucket of 10", "--seeds", "1", "--hints", "no"]
BUCKET = Spec("tuned", "bucket 10 s", "batchllm", "no", 120.0)


def test_a_bound_holds_for_the_mean_or_for_the_worst_seed() -> None:
    """The text of a miss names figure, value and bound."""
    runs = [{"used": 0.90}, {"used": 0.98}]
    assert Check("used", least=0.94).missed(runs) == ""
    assert Check("used", least=0.95).missed(runs) == "used 94 % < 95 %"
    assert Check("used", least=0.94, of="worst").missed(runs) == "used 90 % < 94 %"
    assert Check("silence", most=24.0).missed([{"silence": 30.0}]) == "silence 30 > 24"


def test_a_row_that_misses_a_bound_is_marked_in_the_text_and_on_the_page() -> None:
    """One that holds shows its bounds instead."""
    good = measure(BUCKET)
    held = Row(BUCKET, ({**good, "used": 0.99, "refused late": 0.0},))
    missed = Row(BUCKET, ({**good, "used": 0.5, "refused late": 0.0},))
    assert held.missed == ()
    assert "<-" not in line(held)
    assert line(missed).endswith("<- used 50 % < 98.5 %")
    assert "used ≥ 98.5 %, refused late ≤ 0.5 %" in markdown([held])
    assert "**missed:** used 50 % < 98.5 %" in markdown([missed])


def test_rivals_stand_beside_our_row_and_have_no_bounds() -> None:
    """Use and refusals of each in one cell."""
    figures = {**measure(BUCKET), "used": 0.99, "refused": 0.002, "refused late": 0.0}
    rival = Spec("tuned", "bucket 10 s", "aimd", "no", 120.0)
    bad = Row(rival, ({**figures, "used": 0.2, "refused": 0.4},))
    assert bad.missed == ()
    table = markdown([Row(BUCKET, (figures,)), bad])
    assert "| AIMD | CUBIC |" in table
    assert "| 20.0 / 40.0 | – |" in table


def test_the_command_prints_writes_and_succeeds_if_every_bound_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page keeps what stands around its table."""
    page, figures = tmp_path / "page.md", tmp_path / "rows.json"
    page.write_text("before\n<!-- begin table -->\nwhat was there\n<!-- end table -->\nafter\n")
    assert main([*COLD, "--write", str(page), "--json", str(figures)]) == 0
    assert "1 rows" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- begin table -->\n\n### A cold start")
    assert text.endswith("<!-- end table -->\nafter\n")
    assert "what was there" not in text
    row = json.loads(figures.read_text(encoding="utf-8"))
    assert row["name"] == "60/min, bucket of 10"
    assert row["runs"][0]["refused first minute"] <= 30


def test_figures_that_were_written_can_be_loaded_into_one_page(tmp_path: Path) -> None:
    """A long benchmark can be run in pieces; loading runs nothing and finds the same misses."""
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, used in zip(files, (0.99, 0.5), strict=True):
        file.write_text(as_json([Row(BUCKET, ({**measure(BUCKET), "used": used},))]))
    again = tmp_path / "c.json"
    assert main(["--load", *map(str, files), "--json", str(again)]) == 1
    assert again.read_text() == "".join(file.read_text() for file in files)


def test_the_command_fails_if_it_finds_nothing_to_run() -> None:
    """A misspelt server is no success."""
    assert main(["--servers", "no such server"]) == 1


def test_lying_hints_are_run_once_and_undeclared_servers_not_as_declared() -> None:
    """A plan has each row that makes sense, and no other."""
    rows = [
        (spec.rule, spec.hints)
        for spec in plan(["tuned"], ["batchllm", "declared"], ["no", "yes"])
        if spec.name in ("fixed 60 s, Retry-After 1", "fixed 17 s")
    ]
    assert rows == [("batchllm", "no"), ("batchllm", "yes"), ("batchllm", "yes")]


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in GROUPS for name in GROUPS[group]]
)
def test_every_server_can_be_met(group: str, name: str) -> None:
    """Each is made, accepts something within twenty seconds, and has bounds for its figures."""
    for rule in ("batchllm", "declared"):
        case = GROUPS[group][name]  # type: ignore[index]
        if rule == "declared" and not case.declared:
            continue
        figures = measure(Spec(group, name, rule, "yes", 20.0))  # type: ignore[arg-type]
        assert figures["first"] > 0
        assert {check.figure for check in case.bounds(rule, "yes")} <= set(figures)
