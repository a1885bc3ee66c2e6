from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import (
    AttemptTiming,
    BatchFailures,
    BatchResult,
    Category,
    EndCause,
    Tally,
    Termination,
    Timing,
    WorkItemResult,
)


def done(item_id: str, index: int = 0, **more: Any) -> WorkItemResult[Any, Any]:
    return WorkItemResult(item_id, True, f"answer {item_id}", submission_index=index, **more)


def lost(item_id: str, category: str, index: int = 0, **more: Any) -> WorkItemResult[Any, Any]:
    return WorkItemResult(
        item_id,
        False,
        error=f"{category} happened",
        error_category=category,
        submission_index=index,
        **more,
    )


def batch(*results: WorkItemResult[Any, Any], **more: Any) -> BatchResult[Any, Any]:
    return BatchResult(results, **more)


MIXED = batch(
    done("c", 2, token_usage={"input_tokens": 100, "cached_input_tokens": 40}, cost=0.5),
    lost("a", Category.BAD_OUTPUT, 0, token_usage={"input_tokens": 20, "output_tokens": 5}),
    lost("b", Category.SKIPPED, 1),
    lost("d", Category.STOPPED, 3),
    lost("e", Category.PARKED, 4),
    lost("f", Category.CANCELLED, 5, cost=0.25),
)


def test_counts_add_up() -> None:
    """Skipped and not-run items are not failures that were tried."""
    assert (MIXED.total_items, MIXED.succeeded, MIXED.failed) == (6, 1, 2)
    assert (MIXED.skipped, MIXED.not_run, MIXED.cost) == (1, 2, 0.75)
    assert [r.item_id for r in MIXED.successes] == ["c"]
    assert [r.item_id for r in MIXED.failures] == ["a", "b", "d", "e", "f"]


def test_tokens_of_failures_count() -> None:
    """They were billed; cached input is part of the input."""
    assert (MIXED.total_input_tokens, MIXED.total_output_tokens) == (120, 5)
    assert MIXED.total_cached_tokens == 40
    assert MIXED.cache_hit_rate() == pytest.approx(100 * 40 / 120)
    assert MIXED.effective_input_tokens() == 84
    assert MIXED.effective_input_tokens(cached_share=0.5) == 100


def test_an_empty_batch_has_no_rates() -> None:
    """Nothing is divided by zero, and an unknown cost is not zero."""
    empty = batch()
    assert (empty.cache_hit_rate(), empty.effective_input_tokens(), empty.cost) == (0.0, 0, None)
    assert (empty.outputs, empty.by_id()) == ([], {})


def test_outputs_are_in_the_order_of_the_input() -> None:
    """Results come as they are done; outputs are lined up with the prompts."""
    assert MIXED.outputs == [None, None, "answer c", None, None, None]
    assert "".join(r.item_id for r in MIXED.in_input_order()) == "abcdef"
    assert MIXED.by_id()["c"].output == "answer c"


def test_failures_are_raised_when_asked() -> None:
    """The error names the first three, holds all, and chains the first exception."""
    reason = ValueError("no")
    results = [lost(str(n), Category.UNKNOWN, n, exception=reason) for n in range(5)]
    with pytest.raises(BatchFailures) as caught:
        batch(*results).raise_for_failures()
    assert str(caught.value) == (
        "5 of 5 items have no answer: 0: unknown happened; 1: unknown happened; "
        "2: unknown happened (and 2 more)"
    )
    assert len(caught.value.failures) == 5
    assert caught.value.__cause__ is reason
    assert caught.value.partial.total_items == 5
    with pytest.raises(BatchFailures, match=r"1 of 1 .* happened$"):
        batch(results[0]).raise_for_failures()
    batch(done("a")).raise_for_failures()


def test_times_are_summed_over_attempts() -> None:
    """Each cause by itself, and all of them together."""
    timing = Timing((AttemptTiming(1, 2, 3, 4), AttemptTiming(10, 20, 30, 40)))
    assert (timing.admission_wait, timing.cooldown_wait) == (11, 22)
    assert (timing.execution, timing.backoff, timing.total) == (33, 44, 110)


def test_only_a_finished_source_is_complete() -> None:
    """Every other ending left something out."""
    assert Termination().complete
    assert not Termination(EndCause.STOPPED, "stopped").complete


@pytest.mark.parametrize("replayed", [False, True])
def test_a_result_without_a_usage_is_counted(replayed: bool) -> None:
    """A middleware may give its result ``None`` in place of tokens."""
    result = done("a", token_usage=None, cost=0.5, replayed=replayed)
    tally = Tally.of([result, done("b", token_usage={"input_tokens": 3})])
    assert (tally.total, tally.succeeded, tally.usage) == (2, 2, {"input_tokens": 3})
    assert (tally.cost, tally.cost_before) == ((None, 0.5) if replayed else (0.5, None))
    assert tally.unpriced == 1


def test_a_copy_of_a_tally_stands_still() -> None:
    """A tally shown during a run does not change under its reader."""
    tally = Tally.of(MIXED.results)
    copy = tally.copy()
    tally.add(done("z", token_usage={"input_tokens": 1}, cost=1.0))
    assert (copy.total, copy.usage["input_tokens"], copy.cost) == (6, 120, 0.75)
    assert (tally.total, tally.usage["input_tokens"], tally.cost) == (7, 121, 1.75)


def test_tallies_are_merged() -> None:
    """The sums of two halves are those of the whole; an unknown cost adds nothing."""
    halves = Tally.of(MIXED.results[:2]), Tally.of(MIXED.results[2:])
    halves[0].merge(halves[1])
    assert attrs.asdict(halves[0]) == attrs.asdict(MIXED.tally)
    halves[0].merge(Tally(total=1, skipped=1))
    assert (halves[0].total, halves[0].skipped, halves[0].cost) == (7, 2, 0.75)


results = st.builds(
    WorkItemResult,
    item_id=st.text(min_size=1),
    success=st.booleans(),
    token_usage=st.fixed_dictionaries({}, optional={"input_tokens": st.integers(0, 99)}),
    cost=st.none() | st.integers(0, 9),
    error_category=st.sampled_from([None, *Category]),
)


@given(st.lists(results))
def test_every_result_is_counted_once(items: list[WorkItemResult[Any, Any]]) -> None:
    """The four counts are the whole, and sums are those of the parts."""
    whole = batch(*items)
    counts = (whole.succeeded, whole.failed, whole.skipped, whole.not_run)
    assert sum(counts) == whole.total_items == len(items)
    assert whole.succeeded == len(whole.successes)
    assert whole.total_input_tokens == sum(r.token_usage.get("input_tokens", 0) for r in items)
    known = [r.cost for r in items if r.cost is not None]
    assert whole.cost == (sum(known) if known else None)


def test_a_batch_is_a_collection_of_its_results() -> None:
    """It has a length and can be iterated over; an empty one is a batch, too."""
    results = [WorkItemResult[Any, Any]("a", True), WorkItemResult[Any, Any]("b", False)]
    batch = BatchResult(results)
    assert (len(batch), list(batch)) == (2, results)
    assert BatchResult([])
