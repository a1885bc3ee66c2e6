import pytest

import batchllm.core.errors as errors
from batchllm.core import (
    BatchError,
    BatchFailures,
    CallError,
    ClosedError,
    ConfigError,
    EmptyResponseError,
    FrameworkTimeoutError,
    InvalidItemError,
    MalformedResponseError,
    ProviderError,
    SaturatedError,
    StallError,
    StrategyError,
    TokenTrackingError,
    TransportError,
)


def test_errors_are_also_what_python_calls_them() -> None:
    """Handlers written for the built-in kinds catch ours, too."""
    assert issubclass(ConfigError, ValueError)
    assert issubclass(InvalidItemError, ValueError)
    assert issubclass(StrategyError, TypeError)
    assert issubclass(FrameworkTimeoutError, TimeoutError)
    assert issubclass(EmptyResponseError, ValueError)
    assert issubclass(MalformedResponseError, ProviderError)
    assert issubclass(StallError, TransportError)


def test_every_error_stands_in_the_tree() -> None:
    """The docstring of the module shows each of them."""
    tree = errors.__doc__ or ""
    for name in errors.__all__:
        assert name in tree
        kind = getattr(errors, name)
        recorded = name in ("RecordedError", "TokenTrackingError")
        assert recorded or issubclass(kind, (BatchError, CallError))


def test_what_an_error_of_the_provider_carries() -> None:
    """Everything a classifier asks for, the status under both names."""
    error = ProviderError("no", status=429, code="c", kind="k", request_id="r")
    assert (str(error), error.status, error.status_code) == ("no", 429, 429)
    assert (error.code, error.kind, error.request_id, error.hint) == ("c", "k", "r", None)
    assert error.usage is None


def test_what_the_other_errors_carry() -> None:
    """Times, tokens, replies and failed results."""
    late = FrameworkTimeoutError("late", seconds=3.0, final=True)
    assert (late.seconds, late.final) == (3.0, True)
    assert TransportError("gone").sent
    assert not TransportError("gone", sent=False).sent
    assert EmptyResponseError("empty", response=3).response == 3
    tokens = TokenTrackingError("x", token_usage={"input_tokens": 3})
    assert tokens.token_usage == tokens._failed_token_usage == {"input_tokens": 3}
    assert BatchFailures("x", [1]).failures == (1,)
    assert BatchFailures("x").failures == ()


@pytest.mark.parametrize("kind", [ClosedError, SaturatedError, ConfigError])
def test_errors_of_a_batch_keep_what_was_finished(kind: type[BatchError]) -> None:
    """``partial`` belongs to the one error, not to all of its kind."""
    error = kind("x")
    error.partial = 3
    assert kind("x").partial is None
    assert error.partial == 3
