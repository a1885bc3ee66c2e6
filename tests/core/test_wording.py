"""Messages have the right article."""

from typing import Any

import pytest

from batchllm.core import LLMModel, a_or_an, as_clock, kind_of


@pytest.mark.parametrize(
    ("value", "words"),
    [(1, "an int"), ("x", "a str"), (None, "None"), (dict, "the class dict"), ([], "a list")],
)
def test_what_a_value_is(value: Any, words: str) -> None:
    """None needs no article, and a class is told from its instances."""
    assert kind_of(value) == words


def test_articles_go_by_sound() -> None:
    """As far as names of types go."""
    assert a_or_an(LLMModel.__name__) == "an LLMModel"
    assert a_or_an("UserDict") == "a UserDict"


@pytest.mark.parametrize(
    ("seconds", "bare", "with_unit"),
    [(5.4, "0:05", "0:05 min"), (65, "1:05", "1:05 min"), (7_209, "2:00:09", "2:00:09 h")],
)
def test_a_length_of_time_as_a_clock_shows_it(seconds: float, bare: str, with_unit: str) -> None:
    """Minutes and seconds, and hours from one hour on."""
    assert as_clock(seconds) == bare
    assert as_clock(seconds, unit=True) == with_unit
