"""Finish reasons of every provider in one vocabulary."""

import pytest

from batchllm.providers import normalize_finish


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("stop", "stop"),
        ("end_turn", "stop"),
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("content_filter", "filtered"),
        ("SAFETY", "filtered"),
        ("tool_calls", "tool"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("insufficient_system_resource", "error"),
        ("tomorrow", "unknown"),
        (None, "unknown"),
        (7, "unknown"),
    ],
)
def test_words_are_normalised(word: object, meaning: str) -> None:
    """Known words have a meaning in any case, others are unknown and no error."""
    assert normalize_finish(word) == meaning
