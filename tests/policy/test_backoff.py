"""Waits between attempts, and the budget of retries."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import RetryConfig
from batchllm.policy import RetrySchedule


def schedule(seed: int = 0, **config: object) -> RetrySchedule:
    return RetrySchedule(RetryConfig(**config), random.Random(seed))  # type: ignore[arg-type]


class TestRetrySchedule:
    def test_doubles_without_jitter_up_to_the_longest_wait(self) -> None:
        """The waits are 1, 2, 4 s and so on, and never above max_wait."""
        plain = schedule(jitter=False, max_wait=10)

        assert [plain.wait(n) for n in range(1, 7)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]

    def test_agrees_with_the_waits_that_the_config_tells(self) -> None:
        """RetryConfig.waits() and an unjittered schedule are the same numbers."""
        config = RetryConfig(max_attempts=9, initial_wait=0.3, exponential_base=3, jitter=False)
        plain = RetrySchedule(config, random.Random(0))

        assert config.waits() == tuple(plain.wait(n) for n in range(1, 9))

    @pytest.mark.parametrize("base", [1.0, 2.0, 1e300])
    def test_survives_any_number_of_failures(self, base: float) -> None:
        """A power that overflows is the longest wait."""
        plain = schedule(jitter=False, exponential_base=base)

        assert plain.wait(10**6) == (1.0 if base == 1.0 else 60.0)

    def test_no_initial_wait_means_no_wait(self) -> None:
        """Zero times an infinite growth is still zero."""
        assert schedule(initial_wait=0, exponential_base=1e300).wait(10**6) == 0.0

    @given(
        st.sampled_from([False, True, "equal", "full", "decorrelated"]),
        st.integers(1, 10**4),
        st.floats(0, 1e6),
        st.floats(0, 1e6),
        st.none() | st.floats(0, 1e6),
        st.none() | st.floats(0, 1e9),
    )
    def test_stays_between_the_floor_and_the_longest_wait(
        self,
        jitter: object,
        failures: int,
        initial: float,
        longest: float,
        previous: float | None,
        floor: float | None,
    ) -> None:
        """No wait is below the floor, and only a floor lifts it above max_wait."""
        initial, longest = sorted((initial, longest))
        drawn = schedule(jitter=jitter, initial_wait=initial, max_wait=longest)
        wait = drawn.wait(failures, floor=floor, previous=previous)

        assert (floor or 0.0) <= wait <= max(longest, floor or 0.0)

    @pytest.mark.parametrize("jitter", [True, "equal"])
    def test_equal_jitter_draws_from_the_upper_half(self, jitter: object) -> None:
        """True and "equal" give between half of the wait and all of it."""
        drawn = schedule(jitter=jitter)
        waits = [drawn.wait(4) for _ in range(500)]

        assert 4.0 <= min(waits) < 4.2
        assert 7.8 < max(waits) <= 8.0

    def test_full_jitter_draws_from_the_whole_wait(self) -> None:
        """ "full" gives between nothing and all of it."""
        drawn = schedule(jitter="full")
        waits = [drawn.wait(4) for _ in range(500)]

        assert min(waits) < 0.2
        assert 7.8 < max(waits) <= 8.0

    def test_decorrelated_jitter_grows_from_the_last_wait(self) -> None:
        """ "decorrelated" gives between the initial wait and three times the last."""
        drawn = schedule(jitter="decorrelated")
        first = [drawn.wait(1) for _ in range(500)]
        later = [drawn.wait(2, previous=10.0) for _ in range(500)]

        assert min(first) >= 1.0
        assert 2.9 < max(first) <= 3.0
        assert 1.0 <= min(later) < 2.0
        assert 29.0 < max(later) <= 30.0

    def test_a_long_wait_of_the_server_does_not_inflate_the_next(self) -> None:
        """The last wait counts up to max_wait only."""
        drawn = schedule(jitter="decorrelated", max_wait=5)

        assert min(drawn.wait(2, previous=1e9) for _ in range(500)) < 5.0

    def test_the_same_seed_gives_the_same_waits(self) -> None:
        """A run with a seed is repeatable."""
        one, two = schedule(7), schedule(7)

        assert [one.wait(n) for n in range(1, 9)] == [two.wait(n) for n in range(1, 9)]

    def test_a_floor_that_is_no_number_is_no_floor(self) -> None:
        """NaN does not reach the sleep."""
        assert schedule(jitter=False).wait(1, floor=math.nan) == 1.0
