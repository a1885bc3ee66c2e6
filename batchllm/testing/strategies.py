"""Hypothesis strategies for settings, faults and traces, to property-test code of your own.

Needs Hypothesis. Example::

    @given(faults(), configs())
    def test_mine(step, config): ...
"""

from __future__ import annotations

import warnings
from typing import Any

from attrs import frozen
from hypothesis import strategies as st

from batchllm.core import (
    EmptyResponseError,
    Outcome,
    ProcessorConfig,
    ProviderError,
    RateLimitConfig,
    RetryConfig,
    ServerHint,
    TransportError,
)
from batchllm.testing.steps import Answer, Hang, Leak, Raise, Return, Step

__all__ = ["TraceEvent", "configs", "faults", "rate_limit_configs", "retry_configs", "traces"]

_USAGE = {"input_tokens": 7, "output_tokens": 3}


def _status(code: int) -> Any:
    return lambda: ProviderError(f"the server said {code}", status=code)


class _Base(BaseException):
    """An exception that no ``except Exception`` sees."""


_ERRORS: tuple[Any, ...] = (
    *(_status(code) for code in (400, 401, 404, 408, 429, 500, 503, 529)),
    lambda: TransportError("the connection broke"),
    lambda: EmptyResponseError("a safety filter left nothing"),
    lambda: ValueError("not what was asked for"),
    lambda: TypeError("a slip in the strategy"),
    lambda: TimeoutError("a timeout of its own"),
    lambda: RuntimeError("whatever"),
    lambda: ExceptionGroup("several", [ValueError("one"), OSError("two")]),
    lambda: _Base("beyond Exception"),
)

_delays = st.sampled_from([0.0, 0.0, 0.01, 1.0, 5.0])


def faults(*, hang: bool = True) -> st.SearchStrategy[Step]:
    """Everything that a call may do, good and bad, but what ends the program.

    Args:
        hang: Whether calls that end only when cancelled are among them.
    """
    answers = st.builds(Answer, st.none(), _delays, st.sampled_from([None, _USAGE]))
    raises = st.builds(Raise, st.sampled_from(_ERRORS), _delays)
    wrong = st.builds(Return, st.sampled_from([None, "text", (1,), (1, 2, 3, 4), {}]), _delays)
    short = st.one_of(answers, raises, wrong, st.builds(Leak, _delays))
    if not hang:
        return short
    return st.one_of(short, st.just(Hang()), st.builds(Hang, short))


def retry_configs() -> st.SearchStrategy[RetryConfig]:
    """Valid retry settings, small ones for the most part."""
    return st.builds(
        RetryConfig,
        max_attempts=st.integers(1, 4),
        initial_wait=st.sampled_from([0.0, 0.1, 1.0]),
        max_wait=st.sampled_from([1.0, 60.0]),
        exponential_base=st.sampled_from([1.0, 2.0]),
        jitter=st.sampled_from([False, True, "full", "decorrelated"]),
        max_rate_limit_retries=st.integers(0, 3),
    )


def rate_limit_configs() -> st.SearchStrategy[RateLimitConfig]:
    """Valid fixed policies for rate limits."""
    return st.builds(
        RateLimitConfig,
        cooldown_seconds=st.sampled_from([0.0, 0.5, 30.0]),
        slow_start_items=st.integers(0, 5),
        slow_start_initial_delay=st.sampled_from([0.1, 0.5]),
        slow_start_final_delay=st.sampled_from([0.0, 0.1]),
    )


@st.composite
def configs(draw: st.DrawFn) -> ProcessorConfig:
    """Valid settings of a run, every one of them with a bound on how long a call may hang."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "timeout may be too short")
        return ProcessorConfig(
            max_workers=draw(st.integers(1, 6)),
            timeout_per_item=draw(st.sampled_from([0.5, 10.0, 120.0])),
            retry=draw(retry_configs()),
            rate_limit=draw(st.none() | rate_limit_configs()),
            attempt_timeout=draw(st.sampled_from([None, 0.5, 2.0])),
            deadline_per_item=draw(st.sampled_from([None, 8.0])),
            batch_timeout=draw(st.sampled_from([None, None, 3.0])),
            drain_grace=draw(st.sampled_from([None, 0.0, 1.0])),
            window=draw(st.none() | st.integers(1, 12)),
            max_sleeping=draw(st.sampled_from([1, 10_000])),
            reorder_window=draw(st.sampled_from([1, 3, 1_000])),
            seed=draw(st.integers(0, 9)),
        )


@frozen
class TraceEvent:
    """One reply of a server, as the rate limiter sees it.

    Attributes:
        after: Seconds since the reply before.
        outcome: How the call ended.
        hint: The limits that the reply reported.
    """

    after: float
    outcome: Outcome
    hint: ServerHint | None


def traces(max_size: int = 50) -> st.SearchStrategy[list[TraceEvent]]:
    """Replies one after the other, in times from nothing to minutes apart."""
    hints = st.none() | st.builds(
        ServerHint, wait=st.none() | st.floats(0, 90), exhausted=st.booleans()
    )
    events = st.builds(
        TraceEvent,
        st.sampled_from([0.0, 0.01, 0.5, 2.0, 60.0]),
        st.sampled_from(list(Outcome)),
        hints,
    )
    return st.lists(events, max_size=max_size)
