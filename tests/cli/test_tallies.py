"""The counts that are kept during a run."""

from typing import Any

import pytest

from batchllm.cli.tallies import Tallies
from batchllm.core import TokenUsage, WorkItemResult


def add(tallies: Tallies, category: str | None = None, item_id: str = "a", **given: Any) -> None:
    result = WorkItemResult[Any, Any](item_id, category is None, error_category=category, **given)
    tallies.add(result, {"id": item_id, "error": f"{category} happened"})


def test_rows_tokens_and_dollars_add_up() -> None:
    """A price that is unknown once does not undo those that are known."""
    tallies = Tallies()
    add(tallies)
    unpriced = tallies.cost
    assert unpriced is None
    add(tallies, token_usage=TokenUsage(total_tokens=5), cost=0.25)
    add(tallies, cost=0.5)
    add(tallies, "timeout")
    assert (tallies.done, tallies.failed, tallies.tokens) == (4, 1, 5)
    assert tallies.cost == pytest.approx(0.75)


def test_what_was_not_run_is_no_failure() -> None:
    """Lines that never had their turn are counted apart."""
    tallies = Tallies()
    add(tallies, "stopped")
    add(tallies, "parked")
    assert (tallies.not_run, tallies.failed, tallies.failures()) == (2, 0, [])


def test_failures_are_shown_by_kind_with_the_first_example() -> None:
    """The commonest come first, and beyond five kinds the others are counted."""
    tallies = Tallies()
    for number, category in enumerate(["b", "a", "a", "c", "d", "e", "f", "g"]):
        add(tallies, category, str(number))
    lines = tallies.failures()
    assert lines[0] == "2 × a, e.g. 1: a happened"
    assert lines[-1] == "and 2 other errors"
    assert len(lines) == 6


def test_the_rate_is_that_of_late() -> None:
    """A slow start is forgotten after a while."""
    tallies = Tallies()
    assert tallies.rate(100.0) == 0.0
    tallies.done = 10
    assert tallies.rate(110.0) == pytest.approx(1.0)
    tallies.done = 110
    assert tallies.rate(120.0) == pytest.approx(5.5)
    tallies.done = 210
    assert tallies.rate(130.0) == pytest.approx(10.0)


def test_a_refused_line_is_named_by_its_number_alone() -> None:
    """It has no id, and the sentence begins with the line."""
    tallies = Tallies()
    refused = WorkItemResult[Any, Any]("x", False, error_category="invalid_item")
    tallies.add(refused, {"id": None, "error": "line 4: not JSON"})
    assert tallies.failures() == ["1 × invalid_item, e.g. line 4: not JSON"]
