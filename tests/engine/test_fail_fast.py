"""A run ends where every further call would fail alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.api import run_batch
from batchllm.core import (
    Category,
    EndCause,
    FailFast,
    ProcessorConfig,
    ProviderError,
    WorkItemResult,
)
from batchllm.engine.fail_fast import FailureWatch
from batchllm.journal import Journal
from batchllm.testing import Answer, Raise, ScriptedStrategy, open_inline_worker

REFUSED = "Invalid model name passed in model=nosuch. Call `/v1/models` to view available models"
ITEMS = [f"p{number}" for number in range(200)]


def refused(words: str = REFUSED) -> Raise:
    return Raise(ProviderError(words, status=400))


def failed(category: str, words: str) -> WorkItemResult[Any, Any]:
    return WorkItemResult("i", False, None, words, error_category=category)


@pytest.mark.anyio
async def test_a_run_whose_first_items_are_all_refused_alike_ends() -> None:
    """A gateway answers 400 for a model that it does not have, and for any wrong parameter."""
    config = ProcessorConfig(max_workers=5)
    result = await run_batch(ITEMS, ScriptedStrategy(refused()), config=config)
    assert result.termination.cause is EndCause.FAIL_FAST
    assert "20 items in a row were refused alike, the last with: " in result.termination.reason
    assert "fail_fast=None" in result.termination.reason
    assert REFUSED in result.termination.reason
    assert 20 <= result.failed <= 25


@pytest.mark.anyio
async def test_after_an_answer_or_with_other_words_it_is_the_items_own_matter() -> None:
    """Some prompts of a file may well be refused, and the first ones among them."""
    script: dict[str, Any] = {item: refused() for item in ITEMS[1:]} | {ITEMS[0]: Answer()}
    config = ProcessorConfig(max_workers=1)
    result = await run_batch(ITEMS, ScriptedStrategy(script), config=config)
    assert result.termination.cause is EndCause.DONE
    script = {item: refused(f"{len(item) + n} tokens") for n, item in enumerate(ITEMS)}
    result = await run_batch(ITEMS, ScriptedStrategy(script), config=config)
    assert result.termination.cause is EndCause.DONE
    config = config.with_changes(fail_fast=None)
    result = await run_batch(ITEMS, ScriptedStrategy(refused()), config=config)
    assert result.termination.cause is EndCause.DONE


@pytest.mark.anyio
async def test_a_run_goes_on_where_an_earlier_one_was_answered(tmp_path: Path) -> None:
    """It begins with what was refused before, or was added; good items may follow."""
    script: dict[str, Any] = dict.fromkeys(ITEMS[1:31], refused()) | {"*": Answer("yes")}
    strategy = ScriptedStrategy(script)
    config = ProcessorConfig(max_workers=1)
    ends = []
    for items in (ITEMS[:1], ITEMS):
        options: Any = {
            "config": config,
            "journal": Journal(tmp_path / "run.db", worker=open_inline_worker, on_resume="skip"),
        }
        ends.append(await run_batch(items, strategy, **options))
    assert [end.termination.cause for end in ends] == [EndCause.DONE, EndCause.DONE]
    assert ends[1].failed == 30


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Category.INVALID_REQUEST, Category.TIMEOUT, Category.AUTHENTICATION]),
            st.sampled_from(["a", "b"]),
        ),
        max_size=60,
    ),
    st.integers(1, 30),
)
def test_it_ends_with_the_first_row_that_is_long_enough(
    failures: list[tuple[str, str]], after: int
) -> None:
    """Of a category that counts *after* in a row, or twenty refusals that are the same."""
    watch = FailureWatch(FailFast(after=after))
    for place, (category, words) in enumerate(failures, 1):
        reason = watch.on_failure(failed(category, words), answered=False)
        rows = failures[max(0, place - after) : place], failures[max(0, place - 20) : place]
        counts = len(rows[0]) == after and {c for c, _ in rows[0]} == {Category.AUTHENTICATION}
        alike = len(rows[1]) == 20 and len(set(rows[1])) == 1
        alike = alike and category == Category.INVALID_REQUEST
        assert (reason is not None) is (counts or alike)
        if reason is not None:
            return


@pytest.mark.parametrize("answered", [True, False])
def test_only_what_was_run_counts(answered: bool) -> None:
    """Items that were stopped or parked say nothing, and interrupt no row."""
    watch = FailureWatch(FailFast(after=3))
    for _ in range(2):
        assert watch.on_failure(failed(Category.AUTHENTICATION, "no"), answered=answered) is None
        assert watch.on_failure(failed(Category.STOPPED, "stopped"), answered=answered) is None
    assert watch.on_failure(failed(Category.AUTHENTICATION, "no"), answered=answered) is not None
