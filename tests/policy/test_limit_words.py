"""Limits read the same wherever they are named."""

from __future__ import annotations

import pytest

from batchllm.policy import Limit, amount_in_words, found_in_words, limit_in_words


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Limit("requests", 60), "60 requests per minute"),
        (Limit("input_tokens", 2_000_000), "2,000,000 input tokens per minute"),
        (Limit("requests", 100, per=5.0), "100 requests per 5 s"),
        (Limit("tokens", 10, per=0.3), "10 tokens per 0.3 s"),
        (Limit("requests", 50_000, per=86_400.0), "50,000 requests per day"),
        (Limit("requests", 9, per=2_592_000.0), "9 requests per 2,592,000 s"),
    ],
)
def test_a_limit_has_its_amount_in_full_and_a_named_period(limit: Limit, words: str) -> None:
    """A million is no power of ten, and sixty seconds are a minute."""
    assert limit_in_words(limit) == words


def test_an_amount_of_settings_may_be_a_fraction() -> None:
    """It is shown as it was given."""
    assert amount_in_words("requests", 0.5, 60.0) == "0.5 requests per minute"
    assert amount_in_words("tokens", 1_500_000.5, 1.0) == "1,500,000.5 tokens per second"


def test_a_slow_quota_that_was_found_is_not_called_nothing() -> None:
    """Whole requests per minute, or two digits where there are few."""
    assert found_in_words(50.0).endswith("about 3,000 requests per minute")
    assert found_in_words(0.005).endswith("about 0.3 requests per minute")
