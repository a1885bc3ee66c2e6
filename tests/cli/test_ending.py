"""The end of a run: where the answers are, what failed, how to go on, the exit code."""

from typing import Any

import pytest

from batchllm.cli.ending import Ending, JournalNotes, exit_code, with_lines_never_read
from batchllm.cli.exits import ExitCode
from batchllm.cli.tallies import Tallies
from batchllm.core import BatchResult, EndCause, Tally, Termination, TokenUsage, WorkItemResult

STATS = {"duration": 2.0, "waits": {"backoff": 7200.0}, "limited_by": "a cap"}


def ending(result: BatchResult[Any, Any] | None = None, **given: Any) -> str:
    tallies = Tallies(done=3)
    for category in given.pop("failures", ()):
        failed = WorkItemResult[Any, Any]("a", False, error_category=category)
        tallies.add(failed, {"id": "a", "error": "made up"})
    result = result or BatchResult(tally=Tally(usage=TokenUsage(input_tokens=5)), stats=STATS)
    return Ending(
        **{"result": result, "tallies": tallies, "output": "out.jsonl", **given}
    ).describe()


def test_it_says_where_the_answers_are() -> None:
    """With how many rows there are."""
    assert "Rows    3 written to out.jsonl\n" in ending()


def test_what_is_unknown_is_left_out() -> None:
    """A simulator has no prices, and that is no fault; nor are waits that add up to hours shown."""
    text = ending()
    assert "unknown" not in text
    assert "Tokens  5 in" in text
    assert "Waits" not in text
    priced = BatchResult[Any, Any](tally=Tally(usage=TokenUsage(input_tokens=5), cost=0.25))
    assert "Cost    $0.25" in ending(priced)


def test_what_held_it_back_is_named() -> None:
    """In the words of the options."""
    assert "Limited by" not in ending()
    assert "Limited by  a quota" in ending(limited_by="a quota")


def test_warnings_are_shown_once_each_and_some_of_many() -> None:
    """Nothing else says that some was paid for twice, or is still under way at a provider."""
    assert "Warnings" not in ending()
    few = BatchResult[Any, Any](warnings=("a batch goes on", "batch_timeout", "a batch goes on"))
    assert "Warnings\n  a batch goes on\n  --deadline" in ending(few)
    assert ending(few).count("a batch goes on") == 1
    many = BatchResult[Any, Any](warnings=tuple(f"warning {number}" for number in range(30)))
    assert "  warning 19\n  and 10 more" in ending(many)


def test_a_refused_key_is_named_by_its_variable() -> None:
    """Only if a key was refused."""
    said = "the key was read from A_KEY and B_KEY; look whether it is the right one"
    assert said in ending(failures=["authentication"], keys=["A_KEY", "B_KEY"])
    assert said not in ending(failures=["timeout"], keys=["A_KEY", "B_KEY"])
    assert "key" not in ending(failures=["authentication"])


@pytest.mark.parametrize(
    ("total", "before", "skips", "is_said"),
    [
        (0, 3, True, True),
        (3, 3, True, False),  # as many new lines as finished ones
        (3, 3, False, True),
        (6, 3, False, False),
    ],
)
def test_nothing_is_left_only_if_no_line_was_new(
    total: int, before: int, skips: bool, is_said: bool
) -> None:
    """Finished lines are a part of the total only where their results are given again."""
    notes = JournalNotes(
        path="a.journal",
        size=0,
        restored=0,
        taken_over=before,
        failed_before=0,
        maybe_billed=0,
        skips=skips,
    )
    said = notes.describe(BatchResult(tally=Tally(total=total, succeeded=total, before=before)))
    assert ("Nothing is left: 3 lines were finished before" in said) is is_said


@pytest.mark.parametrize(
    ("not_run", "words"),
    [
        (0, "lines that have no row were not finished"),
        (1, "1 line had no turn; lines that have no row were not finished"),
        (2000, "2,000 lines had no turn; lines that have no row were not finished"),
    ],
)
def test_the_rest_is_named(not_run: int, words: str) -> None:
    """It has no rows, so that it can be run by itself."""
    stopped = BatchResult[Any, Any](termination=Termination(EndCause.STOPPED, "made up"))
    assert words in ending(stopped, tallies=Tallies(not_run=not_run))
    assert "give -o FILE to have one" in ending(stopped)
    assert "no row" not in ending()


@pytest.mark.parametrize(
    ("cause", "succeeded", "interrupted", "broken", "code"),
    [
        (EndCause.DONE, 2, False, False, ExitCode.OK),
        (EndCause.DONE, 1, False, False, ExitCode.SOME_FAILED),
        (EndCause.DONE, 2, True, False, ExitCode.OK),
        (EndCause.INTERRUPTED, 1, True, False, ExitCode.INTERRUPTED),
        (EndCause.FAIL_FAST, 1, False, False, ExitCode.STOPPED),
        (EndCause.INTERRUPTED, 1, True, True, ExitCode.STOPPED),
    ],
)
def test_the_exit_code(
    cause: EndCause, succeeded: int, interrupted: bool, broken: bool, code: ExitCode
) -> None:
    """A run that was done before the signal came is done."""
    tally = Tally(total=2, succeeded=succeeded, failed=2 - succeeded)
    ended = BatchResult[Any, Any](tally=tally, termination=Termination(cause, "made up"))
    assert exit_code(ended, interrupted=interrupted, broken=broken) == code


@pytest.mark.parametrize(
    ("total", "skips", "cause", "unread"),
    [
        (200, True, EndCause.FAIL_FAST, 166),
        (200, False, EndCause.FAIL_FAST, 176),
        (20, True, EndCause.FAIL_FAST, 0),  # a file that lost lines meanwhile
        (None, True, EndCause.FAIL_FAST, 0),
        (200, True, EndCause.DONE, 0),
    ],
)
def test_lines_that_were_never_read_have_not_run(
    total: int | None, skips: bool, cause: EndCause, unread: int
) -> None:
    """A run that ends early has not read all of its input, and the sums are of all of it."""
    result = BatchResult[Any, Any](tally=Tally(total=24, failed=24), termination=Termination(cause))
    notes = JournalNotes(
        path="a.journal",
        size=0,
        restored=0,
        taken_over=10,
        failed_before=0,
        maybe_billed=0,
        skips=skips,
    )
    assert with_lines_never_read(result, total, notes).not_run == unread
