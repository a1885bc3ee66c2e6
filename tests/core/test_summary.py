import re
from typing import Any

import pytest

from batchllm.core import (
    BatchResult,
    EndCause,
    Tally,
    Termination,
    WorkItemResult,
)
from tests.core.test_results import MIXED, batch, done, lost


def test_a_summary_says_what_happened() -> None:
    """One fact per line, failures by category with an example, warnings below."""
    whole = batch(
        done(
            "a",
            token_usage={
                "input_tokens": 1000,
                "output_tokens": 250,
                "cached_input_tokens": 400,
                "reasoning_tokens": 50,
            },
            cost=0.0125,
            spans=(1.5, 0.0, 2.0, 0.25),
        ),
        lost("b", "timeout"),
        lost("c", "bad_output"),
        lost("d", "timeout"),
        lost("e", "skipped"),
        lost("f", "stopped"),
        wall_time=75.2,
        warnings=["cleanup() of X raised ValueError:\n no"],
        termination=Termination(EndCause.FAIL_FAST, "3 in a row", "d"),
        stats={"limited_by": "the cap of 5 calls in flight"},
    )
    assert whole.summary() == (
        "Items       6: 1 succeeded, 3 failed, 1 skipped, 1 not run\n"
        "Tokens      1,000 in, 250 out, 400 cached (40 % of in), 50 for reasoning\n"
        "Cost        $0.0125\n"
        "Time        1:15 min, 0.1 items/s\n"
        "Waits       admission wait 1.5 s, backoff 0.250 s\n"
        "Limited by  the cap of 5 calls in flight\n"
        "Ended       fail_fast: 3 in a row (item d)\n"
        "\n"
        "Failures\n"
        "  2 × timeout, e.g. b: timeout happened\n"
        "  1 × bad_output, e.g. c: bad_output happened\n"
        "\n"
        "Warnings\n"
        "  cleanup() of X raised ValueError: no"
    )


def test_an_empty_batch_has_a_summary() -> None:
    """An unknown number is called unknown, and no rate is made up."""
    assert BatchResult[Any, Any]().summary() == (
        "Items   0: 0 succeeded, 0 failed\n"
        "Tokens  unknown\n"
        "Cost    unknown\n"
        "Time    0.000 s\n"
        "Ended   done: every item was processed"
    )


def test_counts_stand_without_results() -> None:
    """A run that kept no results still has its sums, and its own count of waits."""
    tally = Tally(total=9, succeeded=9, usage={"input_tokens": 3}, cost=12.5)
    whole = BatchResult[Any, Any](
        [], tally=tally, wall_time=3.0, stats={"waits": {"cooldown": 7300.0, "pace": 0}}
    )
    text = whole.summary()
    assert "9 succeeded" in text
    assert "$12.50" in text
    assert "3.0 items/s" in text
    assert re.search(r"Waits +cooldown 2:01:40 h$", text, re.MULTILINE)


def test_long_lists_are_cut() -> None:
    """Five errors, five warnings, and two hundred letters of an error are shown."""
    failures = [lost(str(n), f"kind {n}") for n in range(7)]
    failures.append(WorkItemResult("x", False, error="y" * 500))
    text = batch(*failures, warnings=[str(n) for n in range(7)]).summary()
    assert "and 3 other errors" in text
    assert "and 2 more" in text
    assert max(map(len, text.splitlines())) < 250
    assert "and 1 other error\n" in batch(*failures[:6], warnings=["w"]).summary()
    assert "1 × unknown, e.g. x: yyy" in batch(failures[-1]).summary()


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        (0.0, "$0.00"),
        (0.000012, "$0.000012"),
        (1234.5, "$1,234.50"),
        (0.5, "$0.50"),
        (2e-7, "less than $0.000001"),
    ],
)
def test_costs_are_readable(cost: float, shown: str) -> None:
    """Cents for large sums, what counts of small ones."""
    assert f"Cost    {shown}\n" in batch(done("a", cost=cost)).summary()


def test_the_repr_is_one_line_with_the_counts_first() -> None:
    """A million results do not flood a terminal."""
    assert repr(MIXED) == (
        "<BatchResult: 6 items: 1 succeeded, 2 failed, 1 skipped, 2 not run; 0.000 s>"
    )
    stopped = batch(done("a"), wall_time=4, termination=Termination(EndCause.STOPPED, "why"))
    assert repr(stopped) == (
        "<BatchResult: 1 item: 1 succeeded, 0 failed; 4.0 s, ended by stopped>"
    )


def test_html_is_escaped() -> None:
    """Texts of models and providers never become markup in a notebook."""
    bad = WorkItemResult[Any, Any]("<i>", False, error="<script>&", error_category="<b>")
    html = batch(bad, warnings=["<u>"], termination=Termination(reason="<p>"))._repr_html_()
    assert set(re.findall(r"</?(\w+)", html)) == {"table", "tr", "th", "td", "p", "b", "ul", "li"}
    assert "1 × &lt;b&gt;, e.g. &lt;i&gt;: &lt;script&gt;&amp;" in html
    assert "&lt;u&gt;" in html
    assert "<ul>" not in batch(done("a"))._repr_html_()


def test_html_shows_the_first_results_and_stays_short() -> None:
    """Ten of them, cut to what can be read, in input order; however large the batch is."""

    class Odd:
        def __repr__(self) -> str:
            raise ValueError

    outputs: list[Any] = ["<b>&" * 50_000, {"a": 1}, Odd(), None]
    results = [
        WorkItemResult[Any, Any](f"n{n}", True, outputs[n % 4], submission_index=n)
        for n in range(1_000)
    ]
    html = batch(*reversed(results))._repr_html_()
    assert "The first 10 of 1,000" in html
    assert re.findall(r"n\d+", html) == [f"n{n}" for n in range(10)]
    assert html.count("&lt;b&gt;") == 3 * 50
    assert "{&#x27;a&#x27;: 1}" in html
    assert "&lt;Odd&gt;" in html
    assert len(html) < 10_000


def test_html_of_one_result() -> None:
    """The facts that it has; what a provider said beside the text, and no markup of its own."""
    said = {"reasoning": "<i>", "tool_calls": [{"name": "f", "arguments": "{}"}], "model": "m-1"}
    html = done("<a>", metadata=said, cost=0.5)._repr_html_()
    assert set(re.findall(r"</?(\w+)", html)) == {"table", "tr", "th", "td"}
    for text in ("&lt;a&gt;", "answer &lt;a&gt;", "&lt;i&gt;", "ToolCall(", "m-1", "0.5"):
        assert text in html
    assert "Error" not in html
    assert ">Error</th>" in lost("b", "timeout")._repr_html_()
    assert len(done("a" * 10**6)._repr_html_()) < 10_000
