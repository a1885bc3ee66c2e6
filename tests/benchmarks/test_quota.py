"""A short benchmark of the pace against checked-in figures; the long one is `benchmarks.quota`.

It runs in virtual time by seeds, so it depends on no machine. After a change of the rate limiter
that is meant, `python -m benchmarks.quota --short --accept tests/benchmarks/pace.json` accepts the
new figures; a figure that got worse needs its reason in the commit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quota.runs import GROUPS, Row, Spec, measure
from benchmarks.quota.short import SHORT, key, worse

EXPECTED: dict[str, Any] = json.loads(
    Path(__file__).with_name("pace.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("spec", SHORT, ids=key)
def test_no_figure_is_worse_than_the_checked_in_table_by_two_points(spec: Spec) -> None:
    """Use, refusals and the time of jobs; and no scope is parked that was not."""
    found = worse(Row(spec, (measure(spec),)), EXPECTED)
    assert not found, f"{key(spec)}: {'; '.join(found)}. See this file's first lines."


def test_the_checked_in_table_has_no_other_rows() -> None:
    """A row that is run no more goes from the table as well."""
    assert set(EXPECTED) == {key(spec) for spec in SHORT}


def test_a_figure_that_is_worse_is_found() -> None:
    """Three points of use less fail, and so do three points of refusals more."""
    spec = SHORT[0]
    figures = measure(spec)
    was = {"used": figures["used"] + 0.03, "refused": figures["refused"] - 0.03}
    table = {key(spec): {**EXPECTED[key(spec)], **was}}
    assert [text.partition(" ")[0] for text in worse(Row(spec, (figures,)), table)] == [
        "used",
        "refused",
    ]


def test_the_two_groups_have_no_server_in_common() -> None:
    """Tuning on some servers says nothing about servers that the limiter has not seen."""
    assert not set(GROUPS["tuned"]) & set(GROUPS["untuned"])
    assert len(GROUPS["untuned"]) >= 10
