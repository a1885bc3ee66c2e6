"""Errors that carry what they cost."""

import pytest

from batchllm.classifiers import failed_usage
from batchllm.core import TokenTrackingError
from batchllm.providers import attach_usage


class Closed(Exception):
    """Takes no attributes."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def test_an_error_carries_its_tokens() -> None:
    """They are found where the batch looks for them; unknown ones leave no trace."""
    error = ValueError("bad")
    attach_usage(error, None)
    assert failed_usage(error) is None
    attach_usage(error, {"input_tokens": 3, "total_tokens": 3})
    assert failed_usage(error) == {"input_tokens": 3, "total_tokens": 3}


def test_an_error_that_cannot_is_wrapped() -> None:
    """The wrapper has the tokens, the message and the cause."""
    error = Closed("bad")
    with pytest.raises(TokenTrackingError, match="Closed: bad") as caught:
        attach_usage(error, {"input_tokens": 3, "total_tokens": 3})
    assert caught.value.__cause__ is error
    assert failed_usage(caught.value) == {"input_tokens": 3, "total_tokens": 3}
