"""Durations and moments as servers write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.policy import LONGEST, parse_duration, parse_moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("12ms", 0.012),
        ("1m47.5854s", 107.5854),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723.0),
        ("500ms", 0.5),
        ("8.64s", 8.64),
        ("52", 52.0),
        ("1.5", 1.5),
        (".5s", 0.5),
        ("36s", 36.0),
        ("36.429760048s", 36.429760048),
        (" 7 ", 7.0),
        ("3us", 3e-6),
        ("3µs", 3e-6),
        ("3μs", 3e-6),
        ("7ns", 7e-9),
        ("0s", 0.0),
        ("99999999999999h", LONGEST),
    ],
)
def test_reads_what_servers_write(text: str, seconds: float) -> None:
    """Go durations and bare numbers become seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "-5", "+5", "abc", "nan", "inf", "1e309", "1e3", "5 s", "s", "1s2", "٣s", "1h?"],
)
def test_garbage_is_no_duration(text: str) -> None:
    """A text outside the grammar is None."""
    assert parse_duration(text) is None


def go_duration(nanoseconds: int) -> str:
    hours, rest = divmod(nanoseconds, 3600 * 10**9)
    minutes, rest = divmod(rest, 60 * 10**9)
    whole, fraction = divmod(rest, 10**9)
    return f"{hours}h{minutes}m{whole}.{fraction:09}s"


@given(st.integers(0, int(LONGEST) * 10**9))
def test_a_formatted_duration_reads_back(nanoseconds: int) -> None:
    """Formatting as Go does and parsing gives the same time."""
    assert parse_duration(go_duration(nanoseconds)) == pytest.approx(nanoseconds / 1e9, abs=1e-6)


@given(st.integers(0, 10**18), st.integers(0, 10**18))
def test_a_longer_duration_never_reads_shorter(one: int, two: int) -> None:
    """Parsing is monotone in the value, beyond the cap too."""
    shorter, longer = sorted((one, two))
    low, high = parse_duration(go_duration(shorter)), parse_duration(go_duration(longer))

    assert low is not None
    assert high is not None
    assert low <= high <= LONGEST


@given(st.text() | st.text("0123456789.hmsnuµ -+eE:TZ,GMT", max_size=80))
def test_any_text_gives_a_sane_answer(text: str) -> None:
    """Neither parser raises; a duration lies between 0 and the cap, a moment is finite."""
    duration, moment = parse_duration(text), parse_moment(text)

    assert duration is None or 0 <= duration <= LONGEST
    assert moment is None or math.isfinite(moment)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Thu, 01 Jan 1970 00:01:00 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:01:00", 60.0),
        ("Thu, 01 Jan 1970 01:01:00 +0100", 60.0),
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00.25Z", 60.25),
        ("1970-01-01T00:01:00", 60.0),
    ],
)
def test_reads_dates(text: str, moment: float) -> None:
    """HTTP dates and RFC 3339 times are moments; without a zone they are UTC."""
    assert parse_moment(text) == moment


@pytest.mark.parametrize("text", ["soon", "2025-99-01T00:00:00Z", "Mon, 99 Foo 2025", "x" * 10_000])
def test_garbage_is_no_moment(text: str) -> None:
    """A text that is no date is None."""
    assert parse_moment(text) is None
