"""Words as the last evidence, and usage where agents keep it."""

from typing import Any

import pytest

from batchllm.classifiers import DefaultErrorClassifier, failed_usage
from batchllm.core import Category, ProviderError


class RateLimitedByUs(Exception):
    """Named as SDKs name it."""


class TooManyRequestsException(Exception):
    """Named as SDKs name it."""


class Coded(Exception):
    """Has a code that nobody knows."""

    code = "strange_code"


class UsageLimitExceeded(Exception):
    """PydanticAI's own limit."""

    __module__ = "pydantic_ai.exceptions"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (RateLimitedByUs("wait"), Category.RATE_LIMIT),
        (TooManyRequestsException(), Category.RATE_LIMIT),
        (Exception("429 too many"), Category.RATE_LIMIT),
        (RuntimeError("HTTP Error 429: slow down"), Category.RATE_LIMIT),
        (Exception("Error code: 429 - {'error': 'x'}"), Category.RATE_LIMIT),
        (Exception("Rate limit: too many requests for m"), Category.RATE_LIMIT),
        (Exception("RESOURCE_EXHAUSTED: quota exceeded"), Category.RATE_LIMIT),
        (Exception("Error: insufficient_quota"), Category.INSUFFICIENT_QUOTA),
        (Exception("the rate limit is documented elsewhere"), Category.UNKNOWN),
        (Exception("line 429 of the input"), Category.UNKNOWN),
        (Exception("4290 rows"), Category.UNKNOWN),
        (Exception("x" * 400 + " rate limit, too many requests"), Category.UNKNOWN),
        (ValueError("429 is no word"), Category.BAD_OUTPUT),
        (Coded("429 too many requests, rate limit"), Category.UNKNOWN),
        (ProviderError("429 too many requests, rate limit", status=500), Category.SERVER_ERROR),
        (caused(RateLimitedByUs(), ProviderError("no", status=401)), Category.AUTHENTICATION),
        (UsageLimitExceeded("would exceed the request_limit of 1"), Category.TOO_LARGE),
    ],
)
def test_words_decide_only_where_nothing_else_does(error: Exception, category: Category) -> None:
    """A type's name, or the start of a message; never beside a status, a code or a known type."""
    assert DefaultErrorClassifier().classify(error).error_category == category


def test_a_wait_among_the_words_is_kept() -> None:
    """The message says how long."""
    error = Exception("429 Too Many Requests. Please try again in 7s.")
    assert DefaultErrorClassifier().classify(error).suggested_wait == 7.0


class Run:
    """As an agent's result has it."""

    def usage(self) -> dict[str, Any]:
        return {"input_tokens": 3, "output_tokens": 4}


def test_usage_behind_a_method_counts() -> None:
    """On the exception, or on the result that it, or its cause, carries."""
    direct: Any = Exception("no")
    direct.usage = Run().usage
    carrying: Any = ValueError("inner")
    carrying.result = Run()
    for error in (direct, carrying, caused(Exception("outer"), carrying)):
        assert failed_usage(error) == {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
