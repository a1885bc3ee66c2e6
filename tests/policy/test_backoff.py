"""Waits between attempts, and the budget of retries."""

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchllm.core import RetryConfig
from batchllm.policy import RetryBudget, RetrySchedule


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


class TestRetryBudget:
    def test_lends_its_reserve_and_no_more(self) -> None:
        """Without a first attempt there are as many retries as the reserve has."""
        budget = RetryBudget(reserve=3)

        assert [budget.withdraw(0.0) for _ in range(4)] == [True, True, True, False]

    def test_earns_a_retry_with_ten_first_attempts(self) -> None:
        """The ratio of 0.1 makes ten first attempts worth one retry."""
        budget = RetryBudget(reserve=0)
        for _ in range(9):
            budget.deposit(0.0)
        assert not budget.withdraw(0.0)

        budget.deposit(0.0)

        assert budget.withdraw(0.0)
        assert not budget.withdraw(0.0)

    def test_a_timeout_costs_double(self) -> None:
        """A cost of 2 takes what two retries take."""
        budget = RetryBudget(reserve=4)

        assert [budget.withdraw(0.0, 2.0) for _ in range(3)] == [True, True, False]

    def test_forgets_after_its_time(self) -> None:
        """What was spent comes back, and what was paid in is gone, after ttl seconds."""
        budget = RetryBudget(ratio=1.0, reserve=1)
        budget.deposit(0.0)
        assert budget.withdraw(0.0, 2.0)
        assert budget.balance(59.9) == 0.0

        assert budget.balance(66.1) == 1.0

    def test_a_clock_that_steps_back_frees_nothing(self) -> None:
        """An earlier time counts as the latest one seen."""
        budget = RetryBudget(reserve=1)
        assert budget.withdraw(100.0)

        assert not budget.withdraw(0.0)

    def test_says_when_it_will_be_there(self) -> None:
        """After the delay the withdrawal succeeds, and not before."""
        budget = RetryBudget(reserve=2)
        budget.withdraw(5.0)
        budget.withdraw(40.0)
        assert budget.delay(40.0, 3.0) == math.inf

        delay = budget.delay(40.0)

        assert budget.delay(40.0 + delay / 2) == pytest.approx(delay / 2)
        assert budget.delay(40.0 + delay) == 0.0
        assert budget.withdraw(40.0 + delay)

    @given(
        st.lists(
            st.tuples(st.floats(0, 20), st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0])), max_size=150
        )
    )
    def test_keeps_retries_to_their_share_over_every_ttl(
        self, steps: list[tuple[float, float]]
    ) -> None:
        """Over any ttl retries cost at most reserve + ratio x the first attempts of 1.1 ttl."""
        budget, now = RetryBudget(ratio=0.3, reserve=3), 0.0
        firsts: list[float] = []
        retries: list[tuple[float, float]] = []
        for step, cost in steps:
            now += step
            if not cost:
                budget.deposit(now)
                firsts.append(now)
            elif budget.withdraw(now, cost):
                retries.append((now, cost))
            else:
                assert budget.delay(now, cost) > 0
        for end, _ in retries:
            spent = sum(cost for at, cost in retries if end - 60 < at <= end)
            paid = sum(1 for at in firsts if end - 66.0001 <= at <= end)
            assert spent <= 3 + 0.3 * paid + 1e-6

    @given(st.floats(0, 1e12), st.floats(1e-3, 1e6))
    @example(3372002.9868078516, 1.728123117817626)
    def test_the_delay_is_long_enough(self, now: float, ttl: float) -> None:
        """Whoever sleeps for the delay gets the retry, whatever the rounding of the clock."""
        budget = RetryBudget(ttl=ttl, reserve=1)
        assert budget.withdraw(now)

        assert budget.withdraw(now + budget.delay(now))

    def test_deposits_alone_take_no_memory(self) -> None:
        """A run without a failure never asks for its balance."""
        budget = RetryBudget()
        for second in range(10_000):
            budget.deposit(float(second))

        assert len(budget._slices) <= 11

    def test_neither_drifts_nor_grows(self) -> None:
        """After a hundred thousand fractional withdrawals it is as good as new, and small."""
        budget = RetryBudget(reserve=10)
        for step in range(100_000):
            budget.withdraw(step * 0.01, 0.1)
            assert len(budget._slices) <= 11

        assert budget.balance(10_000.0) == 10.0
