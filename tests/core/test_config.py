import math
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import ConfigError, FailFast, ProcessorConfig, RateLimitConfig, RetryConfig


def test_defaults_are_the_contract() -> None:
    """The numbers that users rely on, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = ProcessorConfig()
    assert (config.max_workers, config.timeout_per_item, config.window_size) == (5, 120.0, 10)
    assert (config.retry.max_attempts, config.retry.waits()) == (3, (1.0, 2.0))
    assert (config.park_after, config.outage_after) == (900.0, 600.0)
    assert config.retry.max_rate_limit_retries is None
    assert RateLimitConfig() == RateLimitConfig(300.0, 1.5, 50, 2.0, 0.1, 600.0)
    assert ProcessorConfig(window=3).window_size == 3


def test_a_short_timeout_is_warned_about_with_its_numbers() -> None:
    """The waits alone would take longer; the warning points at the caller."""
    retry = RetryConfig(max_attempts=5, initial_wait=10.0)
    with pytest.warns(UserWarning, match=r"may be too short.*60 s.*5 attempts.*130 s") as caught:
        ProcessorConfig(timeout_per_item=60.0, retry=retry)
    assert caught[0].filename == __file__


def test_a_short_deadline_is_warned_about_too() -> None:
    """It bounds the same waits, by the clock on the wall."""
    with pytest.warns(UserWarning, match=r"deadline may be too short: deadline_per_item is 2 s"):
        ProcessorConfig(deadline_per_item=2.0)


def test_no_warning_without_a_timeout_or_at_the_sum() -> None:
    """Only a timeout that is less than the waits is too short."""
    retry = RetryConfig(max_attempts=5, initial_wait=10.0)
    assert ProcessorConfig(timeout_per_item=None, retry=retry).timeout_per_item is None
    assert ProcessorConfig(timeout_per_item=130.0, retry=retry).timeout_per_item == 130.0


def test_changes_are_checked_as_new_settings_are() -> None:
    """A copy with changes obeys the same rules."""
    config = ProcessorConfig().with_changes(max_workers=7)
    assert config.max_workers == 7
    with pytest.raises(ConfigError, match="max_workers is 0"):
        config.with_changes(max_workers=0)


@pytest.mark.parametrize(
    ("kind", "name", "bad"),
    [
        (ProcessorConfig, "max_workers", [0, -1, 2.0, "5", True, None]),
        (ProcessorConfig, "timeout_per_item", [0, -1.0, math.nan, math.inf, "5", 10**400 * -1]),
        (ProcessorConfig, "retry", [None, 3, {}]),
        (ProcessorConfig, "rate_limit", [3, {}]),
        (ProcessorConfig, "fail_fast", [True, {}]),
        (ProcessorConfig, "dry_run", [None, 1, "no"]),
        (ProcessorConfig, "keep_results", [1, "no"]),
        (ProcessorConfig, "seed", ["x", 1.5]),
        (ProcessorConfig, "drain_grace", [-1]),
        (ProcessorConfig, "cleanup_timeout", [0, None]),
        (ProcessorConfig, "window", [0, 1.5]),
        (RetryConfig, "max_attempts", [0, 1.5]),
        (RetryConfig, "exponential_base", [0.9]),
        (RetryConfig, "jitter", ["half", 1, 0, None, []]),
        (RetryConfig, "max_rate_limit_retries", [-1, 1.5]),
        (ProcessorConfig, "park_after", [0, -1, math.nan, math.inf]),
        (ProcessorConfig, "outage_after", [0, -1, math.nan, math.inf, "x"]),
        (ProcessorConfig, "max_requests_per_minute", [0, -1, math.inf, math.nan, 1e308, 1e-9]),
        (ProcessorConfig, "max_tokens_per_minute", [0, math.inf, math.nan, 1e308, 1e-9]),
        (RateLimitConfig, "backoff_multiplier", [0.5]),
        (FailFast, "after", [0]),
    ],
)
def test_wrong_values_name_field_value_and_remedy(kind: Any, name: str, bad: list[Any]) -> None:
    """Each wrong value is refused when the settings are made."""
    for value in bad:
        with pytest.raises(ConfigError, match=rf"{kind.__name__}\.{name} is .*; give "):
            kind(**{name: value})


@pytest.mark.parametrize("jitter", [True, False, "equal", "full", "decorrelated"])
def test_kinds_of_jitter(jitter: Any) -> None:
    """The five ways to spread waits."""
    assert RetryConfig(jitter=jitter).jitter == jitter


def test_a_lone_category_is_no_set_of_letters() -> None:
    """A text in place of a list means that one category."""
    assert FailFast(categories="authentication").categories == {"authentication"}  # type: ignore[arg-type]
    assert FailFast(categories=["a", "b"]).categories == {"a", "b"}  # type: ignore[arg-type]


@given(
    st.integers(1, 2000),
    st.floats(0, 1e308),
    st.floats(0, 1e308),
    st.floats(1, 1e308),
)
def test_waits_are_bounded_and_never_shrink(
    attempts: int, initial: float, longest: float, base: float
) -> None:
    """With any settings no wait overflows, is not a number, or is above the longest."""
    initial, longest = sorted((initial, longest))
    waits = RetryConfig(attempts, initial, longest, base).waits()
    assert len(waits) == min(attempts - 1, 1000)
    assert all(0 <= wait <= longest for wait in waits)
    assert list(waits) == sorted(waits)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (RetryConfig, {"initial_wait": 9.0, "max_wait": 3.0}, "initial_wait is 9.0 and max_wait"),
        (
            RateLimitConfig,
            {"cooldown_seconds": 700.0},
            r"cooldown_seconds is 700.0 and max_cooldown_seconds is 600.0; give .* at least 700",
        ),
        (
            RateLimitConfig,
            {"slow_start_initial_delay": 0.1, "slow_start_final_delay": 2.0},
            "slow_start_final_delay is 2.0 and slow_start_initial_delay is 0.1",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    kind: Any, values: dict[str, float], message: str
) -> None:
    """Both settings are named, and both ways out."""
    with pytest.raises(ConfigError, match=f"{kind.__name__}.{message}"):
        kind(**values)


@pytest.mark.parametrize("amount", [1 / 43_200, 0.5, 1, 1e12])
def test_a_quota_from_one_a_month_to_a_million_million_a_minute_is_accepted(amount: float) -> None:
    """Allowances by the month are sold; none is larger than the largest."""
    assert ProcessorConfig(max_requests_per_minute=amount).max_requests_per_minute == amount
