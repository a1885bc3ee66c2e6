"""Messages have the right article."""

from typing import Any

import pytest

from batchllm.core import LLMModel, a_or_an, kind_of


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
