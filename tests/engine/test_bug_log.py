"""Bugs of a user's strategy: one line in the log for each, and one in the summary."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from batchllm.api import run_batch
from batchllm.core import BatchResult, ErrorGroups, LLMCallStrategy, where_raised

pytestmark = pytest.mark.anyio

HERE = Path(__file__).name


def helper(prompt: Any) -> Any:
    return None + prompt  # the second bug


class Buggy(LLMCallStrategy[str]):
    """Has two bugs; which one an item meets depends on its prompt."""

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
        if prompt > "p5":
            return helper(prompt), None
        return prompt.nonsense, None  # the first bug


def line_of(comment: str) -> int:
    """Return the number of the line with *comment* in this file."""
    lines = Path(__file__).read_text().splitlines()
    return next(n for n, line in enumerate(lines, 1) if line.endswith(comment))


async def test_each_bug_is_logged_once_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """However many items meet it, and whatever they are."""
    with caplog.at_level(logging.ERROR, "batchllm"):
        result = await run_batch([f"p{n}" for n in range(10)], Buggy())
    assert result.failed == 10
    first, second = sorted(record.getMessage() for record in caplog.records)
    place = f"{HERE}:{line_of('# the first bug')} in "
    assert first.startswith(f"AttributeError: 'str' object has no attribute 'nonsense', at {place}")
    assert "execute; item " in first
    assert "said once for all items" in first
    assert f"at {HERE}:{line_of('# the second bug')} in helper; item " in second


async def test_the_summary_counts_items_by_their_bug() -> None:
    """With the line, also after nothing but the first example is shown."""
    summary = (await run_batch([f"p{n}" for n in range(10)], Buggy())).summary()
    lines = [line.strip() for line in summary.splitlines() if " × " in line]
    assert lines[0].startswith(f"6 × program_error at {HERE}:{line_of('# the first bug')} in ")
    assert lines[1].startswith(f"4 × program_error at {HERE}:{line_of('# the second bug')} in ")


async def test_every_run_says_it_anew(caplog: pytest.LogCaptureFixture) -> None:
    """The log of bugs belongs to a run."""
    with caplog.at_level(logging.ERROR, "batchllm"):
        for _ in range(2):
            await run_batch(["p0", "p1"], Buggy())
    assert len(caplog.records) == 2


async def test_a_hook_of_the_wrong_shape_is_a_bug_without_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is found before it is called; the sentence says what to write."""

    class Wrong(LLMCallStrategy[str]):
        def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
            return prompt

    with caplog.at_level(logging.ERROR, "batchllm"):
        await run_batch(["a", "b"], Wrong())
    (record,) = caplog.records
    assert "Wrong.execute is not asynchronous" in record.getMessage()


def test_what_is_no_frame_of_the_users() -> None:
    """An error that was never raised, or was raised in Python's library, has what there is."""
    assert where_raised(ValueError("x")) == ""
    with pytest.raises(FileNotFoundError) as raised:
        Path("/nowhere/at/all").read_text()
    assert where_raised(raised.value).startswith(f"{HERE}:")


def test_errors_that_differ_in_numbers_and_names_are_one() -> None:
    """Ids, counts and quoted values say nothing about the kind of error."""
    groups = ErrorGroups()
    for n in range(5):
        text = f"request req_{n}a7 for 'item {n}' took {n}.5 s of 10"
        groups.add("timeout", f"item {n}: {text}", text)
    groups.add("timeout", "x: the socket was closed", "the socket was closed")
    groups.add("rate_limit", "y: the socket was closed", "the socket was closed")
    assert groups.lines(2) == [
        "5 × timeout, e.g. item 0: request req_0a7 for 'item 0' took 0.5 s of 10",
        "1 × timeout, e.g. x: the socket was closed",
        "and 1 other error",
    ]


def test_a_million_different_errors_take_no_memory() -> None:
    """After a thousand the category alone is counted."""
    groups = ErrorGroups()
    for n in range(3_000):
        word = "".join(chr(97 + int(digit)) for digit in str(n))
        groups.add("unknown", f"e.g. {word}", word)
    assert groups.lines(1)[0].startswith("2,000 × unknown")
    assert len(groups._counts) == 1_001


async def test_the_same_error_of_many_items_is_one_line_of_the_summary() -> None:
    """Ten thousand timeouts and one other: both are seen."""
    from batchllm.core import WorkItemResult

    results = [
        WorkItemResult[Any, Any](f"i{n}", False, error=f"no answer in {n} s", error_category="x")
        for n in range(10_000)
    ]
    results.append(WorkItemResult("z", False, error="the disk is full", error_category="x"))
    summary = BatchResult[Any, Any](results).summary()
    assert "10,000 × x, e.g. i0: no answer in 0 s" in summary
    assert "1 × x, e.g. z: the disk is full" in summary
