"""Errors and results that leave the process, or are copied."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from batchllm.core import (
    BatchFailures,
    EmptyResponseError,
    FrameworkTimeoutError,
    MalformedResponseError,
    ProviderError,
    RecordedError,
    ServerHint,
    TokenTrackingError,
    TransportError,
    WorkItemResult,
    errors,
)
from tests.core.test_results import MIXED

WAYS: list[Callable[[Any], Any]] = [
    lambda value: pickle.loads(pickle.dumps(value)),
    copy.copy,
    copy.deepcopy,
]
HINT = ServerHint(wait=3.0)
MADE: list[BaseException] = [
    ProviderError("m", status=429, code="c", kind="k", hint=HINT, request_id="r"),
    MalformedResponseError("m", status=200),
    TransportError("m", sent=False),
    FrameworkTimeoutError("m", seconds=3.0, final=True),
    EmptyResponseError("m", response=3, reason="empty"),
    TokenTrackingError("m", token_usage={"input_tokens": 3}),
    RecordedError("ValueError", "m"),
    BatchFailures("m", [1]),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_it_left(error: Any, way: Callable[[Any], Any]) -> None:
    """With its words and all that it knows."""
    error.usage = {"input_tokens": 7}
    error.add_note("seen")
    other = way(error)
    assert type(other) is type(error)
    assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_of_ours_can_leave_the_process(name: str) -> None:
    """Those that need nothing but words, too."""
    kind = getattr(errors, name)
    needed = {"status": 400} if issubclass(kind, ProviderError) else {}
    error = kind("m", "n") if kind is RecordedError else kind("m", **needed)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


class Odd(Exception):
    """Cannot be made again from its ``args``, as exceptions of SDKs."""

    def __init__(self, message: str, *, response: object) -> None:
        super().__init__(message)
        self.response = response


@pytest.mark.parametrize("way", [WAYS[0], WAYS[2]])
def test_a_result_leaves_whatever_its_exception_is(way: Callable[[Any], Any]) -> None:
    """An exception that cannot go is replaced by its type and words; the others go."""
    odd = way(WorkItemResult[Any, Any]("a", False, exception=Odd("no", response=lambda: 1)))
    assert (type(odd.exception), str(odd.exception)) == (RecordedError, "Odd: no")
    ours = way(WorkItemResult[Any, Any]("a", False, exception=ProviderError("m", status=400)))
    assert (type(ours.exception), ours.exception.status) == (ProviderError, 400)
    assert way(MIXED).outputs == MIXED.outputs
