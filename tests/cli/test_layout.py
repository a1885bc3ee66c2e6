"""The live view at 120, 80 and 40 columns: done, failed and ETA are always to be seen."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from batchllm.cli.layout import bar_width, lines_for
from batchllm.cli.snapshot import Snapshot


def snapshot(**given: Any) -> Snapshot:
    plain: dict[str, Any] = {
        "done": 1234,
        "total": 10_000,
        "failed": 14,
        "tokens": 1_500_000,
        "cost": 0.5,
        "rate": 48.25,
        "limit": 50.0,
        "elapsed": 30.0,
        "in_flight": 7,
        "waiting": 120,
        "sleeping": 3,
        "reason": "cooldown",
        "pause": 12.2,
        "categories": (("timeout", 9), ("bad_output", 4), ("filtered", 1)),
    }
    return Snapshot(**{**plain, **given})


GOLDEN = {
    120: [
        "1,234/10,000 done · 14 failed · ETA 3:14",
        "48.2/s (limit 50.0/s) · 7 calling · 120 waiting: cooldown 12 s · 3 in backoff"
        " · 1.5M tokens · $0.5000",
        "failed: 9 timeout · 4 bad_output · 1 filtered",
    ],
    80: [
        "1,234/10,000 done · 14 failed · ETA 3:14",
        "48.2/s (limit 50.0/s) · 7 calling · 120 waiting: cooldown 12 s · 3 in backoff",
        "1.5M tokens · $0.5000",
        "failed: 9 timeout · 4 bad_output · 1 filtered",
    ],
    40: [
        "1,234/10,000 done · 14 failed",
        "ETA 3:14",
        "48.2/s (limit 50.0/s) · 7 calling",
        "120 waiting: cooldown 12 s",
        "failed: 9 timeout · 4 bad_output",
    ],
}


@pytest.mark.parametrize("columns", GOLDEN)
def test_the_view_at_a_width(columns: int) -> None:
    """Parts without room are left out from the end, and nothing is cut in the middle."""
    assert lines_for(snapshot(), columns) == GOLDEN[columns]


@pytest.mark.parametrize("columns", GOLDEN)
def test_large_numbers_at_a_width(columns: int) -> None:
    """Ten million lines with failures, in every width that terminals have."""
    text = "\n".join(lines_for(snapshot(done=1_234_567, total=10_000_000, failed=9_999), columns))
    assert "1,234,567/10,000,000 done" in text
    assert "9,999 failed" in text
    assert "ETA 50:27:59" in text


def test_a_clean_start_takes_two_lines() -> None:
    """Nothing that is 0 or unknown takes room, but that nothing has failed is said."""
    quiet = snapshot(
        failed=0, categories=(), waiting=0, sleeping=0, reason=None, pause=None, cost=None, tokens=0
    )
    assert lines_for(quiet, 80) == [
        "1,234/10,000 done · 0 failed · ETA 3:02",
        "48.2/s (limit 50.0/s) · 7 calling",
    ]


def test_the_bar_is_the_first_to_go() -> None:
    """It is there in wide terminals, if the end is known."""
    assert bar_width(snapshot(), 120) > 0
    assert bar_width(snapshot(), 80) == 0
    assert bar_width(snapshot(total=None), 120) == 0


@given(
    columns=st.integers(1, 300),
    done=st.integers(0, 10**9),
    failed=st.integers(0, 10**9),
    names=st.lists(st.text(min_size=1, max_size=40), max_size=6),
)
def test_no_line_is_wider_than_the_terminal(
    columns: int, done: int, failed: int, names: list[str]
) -> None:
    """So that none wraps, whatever the width and the numbers, and there are few of them."""
    shown = snapshot(done=done, failed=failed, categories=tuple((name, 1) for name in names))
    lines = lines_for(shown, columns)
    assert len(lines) <= 5
    assert all(cell_len(line) <= max(1, columns - 1) for line in lines)


@given(columns=st.integers(24, 300), failed=st.integers(0, 10**6))
def test_the_failures_are_never_left_out(columns: int, failed: int) -> None:
    """Nor is the time that is left."""
    text = "\n".join(lines_for(snapshot(failed=failed), columns))
    assert f"{failed:,} failed" in text
    assert "ETA" in text
