"""Servers with a quota that a client cannot see: their laws, one by one."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.simulator import (
    FixedWindow,
    GrowingByUse,
    LeakyQueue,
    Limits,
    ParallelCalls,
    QuotaServer,
    RandomRefusals,
    RefusesFrom,
    Schedule,
    SlidingLog,
    Slots,
    TokenBucket,
    always_hint,
    exact_hint,
    no_hint,
    stretched_hint,
)

gaps = st.lists(st.floats(0, 3), min_size=1, max_size=200)


def accepted(server: QuotaServer, instants: list[float]) -> list[float]:
    """Send at each instant, and return those that were accepted."""
    return [at for at in instants if server.arrive(at).accepted]


def times(gaps: list[float]) -> list[float]:
    """Add gaps up to instants."""
    now, found = 0.0, []
    for gap in gaps:
        now += gap
        found.append(now)
    return found


def steady(server: QuotaServer, per_second: float, seconds: float, begin: float = 0.0) -> int:
    """Count what is accepted of a steady stream."""
    count = int(per_second * seconds)
    return len(accepted(server, [begin + n / per_second for n in range(count)]))


@given(gaps)
def test_an_exact_hint_is_the_first_instant_that_is_accepted(gaps: list[float]) -> None:
    """After the hinted wait a request passes, if nothing else came; shortly before it does not."""
    for make in (
        lambda: Limits(TokenBucket(60, 60.0, 3)),
        lambda: Limits(FixedWindow(5, 7.0, phase=2.0)),
        lambda: Limits(SlidingLog(4, 5.0)),
        lambda: Limits(FixedWindow(20, 30.0), (TokenBucket(2, 1.0, 2),)),
    ):
        server = make()
        for at in times(gaps):
            verdict = server.arrive(at)
            if not verdict.accepted:
                assert verdict.wait_hint is not None
                assert not server.arrive(at + 0.99 * verdict.wait_hint).accepted
                assert server.arrive(at + verdict.wait_hint + 1e-6).accepted
                break


@given(gaps)
def test_two_limits_accept_what_both_of_them_accept(gaps: list[float]) -> None:
    """Neither is exceeded in any window, and a refusal charges neither."""
    passed = accepted(Limits(SlidingLog(6, 10.0), (SlidingLog(2, 1.0),)), times(gaps))
    for at in passed:
        assert sum(at - 10 < other <= at for other in passed) <= 6
        assert sum(at - 1 < other <= at for other in passed) <= 2


def test_tokens_bind_beside_requests() -> None:
    """A request too large for what is left is refused with its wait, and charges no request."""
    server = Limits(SlidingLog(2, 60.0), tokens=TokenBucket(600, 60.0), mean_tokens=300)
    assert server.arrive(0.0, 500).accepted
    assert server.arrive(0.0, 400) == (False, pytest.approx(30.0), 0.0)
    assert server.arrive(0.0, 100).accepted
    assert server.sustained(0.0, 60.0) == pytest.approx(2)
    assert Limits(SlidingLog(9, 60.0), tokens=TokenBucket(600, 60.0), mean_tokens=300).sustained(
        0.0, 60.0
    ) == pytest.approx(2)


@pytest.mark.parametrize(
    ("rule", "hint"),
    [(exact_hint, 1.0), (no_hint, None), (always_hint(60.0), 60.0), (stretched_hint(2.0), 2.0)],
)
def test_hints_are_true_or_lies(rule: object, hint: float | None) -> None:
    """The wait is a second in each case; what the refusal says differs."""
    server = Limits(TokenBucket(1, 1.0, 1), hint=rule)  # type: ignore[arg-type]
    assert server.arrive(0.0) == (True, None, 0.0)
    assert server.arrive(0.0) == (False, hint, 0.0)


def test_strict_spacing_is_a_bucket_of_one() -> None:
    """Idle time is not saved: after a long one, the second of two at once is still refused."""
    server = Limits(TokenBucket(10, 1.0, 1))
    assert accepted(server, [0.0, 0.05, 0.1, 0.15, 5.0, 5.0, 5.11]) == [0.0, 0.1, 5.0, 5.11]


def test_a_bucket_that_counts_refusals_gives_nothing_to_a_client_above_its_rate() -> None:
    """Twice the rate gets the burst and nothing more; just below the rate all passes."""
    assert steady(Limits(TokenBucket(5, 1.0, 5, counts_refusals=True)), 10, 60) <= 10
    assert steady(Limits(TokenBucket(5, 1.0, 5, counts_refusals=True)), 4.9, 60) == 294


def test_a_cap_counts_what_has_not_departed() -> None:
    """A place is free again when a call departs, and no earlier."""
    server = ParallelCalls(2, service=4.0)
    assert [server.arrive(at).accepted for at in (0.0, 0.0, 100.0)] == [True, True, False]
    server.depart(100.0)
    assert server.arrive(100.0).accepted
    assert not server.arrive(100.0).accepted
    assert server.sustained(0.0, 60.0) == 30


@given(gaps)
def test_a_leaky_queue_delays_up_to_its_longest_wait_and_lets_out_at_its_rate(
    gaps: list[float],
) -> None:
    """Those served leave no closer together than the rate; none waits longer than allowed."""
    server, left = LeakyQueue(2.0, 3.0), []
    for at in times(gaps):
        verdict = server.arrive(at)
        if verdict.accepted:
            assert verdict.delay <= 3.0
            left.append(at + verdict.delay)
        else:
            assert verdict.wait_hint is not None
            assert 0 < verdict.wait_hint <= 0.5 + 1e-9
    assert all(b - a >= 0.5 - 1e-9 for a, b in itertools.pairwise(left))


def test_a_leaky_queue_takes_a_burst_as_long_as_its_longest_wait() -> None:
    """At 2 a second and 3 s at most, seven leave between 0 and 3 s, and the eighth is refused."""
    server = LeakyQueue(2.0, 3.0)
    verdicts = [server.arrive(0.0) for _ in range(8)]
    assert [each.delay for each in verdicts[:7]] == [n / 2 for n in range(7)]
    assert verdicts[7] == (False, 0.5, 0.0)


def test_slots_delay_what_the_quota_accepts() -> None:
    """With two slots the third answer begins when the first ends; refusals stay refusals."""
    server = Slots(Limits(TokenBucket(3, 60.0, 3)), 2)
    verdicts = [server.arrive(0.0, 0.0, work) for work in (4.0, 6.0, 5.0, 5.0)]
    assert [each.delay for each in verdicts] == [0.0, 0.0, 4.0, 0.0]
    assert [each.accepted for each in verdicts] == [True, True, True, False]
    assert server.sustained(0.0, 60.0) == 3


def test_slots_over_a_cap_hear_of_departures() -> None:
    """The outer part passes on what the inner one needs."""
    server = Slots(ParallelCalls(1, service=1.0), 1)
    assert server.notes_departures
    assert [server.arrive(0.0).accepted, server.arrive(0.0).accepted] == [True, False]
    server.depart(1.0)
    assert server.arrive(1.0).accepted


def test_random_refusals_are_a_share_and_cost_no_quota() -> None:
    """1 % is refused at random, and the quota is charged for the rest only."""
    inner = Limits(TokenBucket(1e6, 1.0))
    server = RandomRefusals(inner, 0.01, random.Random(4), hint=always_hint(1.0))
    verdicts = [server.arrive(n / 100) for n in range(20_000)]
    assert server.refused == sum(not each.accepted for each in verdicts)
    assert server.refused == pytest.approx(200, rel=0.2)
    assert {each.wait_hint for each in verdicts} == {None, 1.0}
    assert server.sustained(0.0, 1.0) == 1e6


def test_a_dead_server_refuses_without_a_word_from_its_instant_on() -> None:
    """It sustains what its quota did until then."""
    server = RefusesFrom(Limits(TokenBucket(60, 60.0)), 100.0)
    assert server.arrive(99.9).accepted
    assert server.arrive(100.0) == (False, None, 0.0)
    assert server.sustained(0.0, 200.0) == 100
    assert server.sustained(150.0, 200.0) == 0


def test_a_schedule_moves_the_limit_and_what_it_sustains() -> None:
    """600 a minute, half at minute 20, three times that at minute 40."""
    schedule = Schedule(((1200.0, 0.5), (2400.0, 1.5)))
    server = Limits(TokenBucket(600, 60.0, 10), schedule=schedule)
    rates = [steady(server, 50, 100, begin=at) / 100 for at in (1000, 2000, 3000)]
    assert rates == [pytest.approx(rate, rel=0.02) for rate in (10, 5, 15)]
    assert server.sustained(1100, 1300) == pytest.approx(1500)
    assert server.sustained(600, 3600) == pytest.approx(6000 + 6000 + 18_000)


@given(
    changes=st.dictionaries(st.floats(1, 100), st.floats(0.1, 5), max_size=8),
    begin=st.floats(0, 50),
    length=st.floats(0.1, 100),
)  # fmt: skip
def test_the_mean_of_a_schedule_is_the_integral_of_its_factors(
    changes: dict[float, float], begin: float, length: float
) -> None:
    """It agrees with a sum over many short steps."""
    schedule = Schedule(tuple(sorted(changes.items())))
    steps = 5000
    instants = (begin + length * (n + 0.5) / steps for n in range(steps))
    mean = sum(schedule.factor(at) for at in instants) / steps
    assert schedule.mean(begin, begin + length) == pytest.approx(mean, abs=0.02)


def test_the_usual_schedules() -> None:
    """A square wave begins high; growth is by half in a quarter of an hour."""
    wave = Schedule.square_wave(0.4, 300.0)
    assert [wave.factor(at) for at in (0, 299, 300, 599, 600, 901)] == [1, 1, 0.4, 0.4, 1, 0.4]
    assert wave.next_change(300.0) == 600.0
    growing = Schedule.growing(0.5, 900.0, step=60.0)
    assert growing.factor(59.0) == 1
    assert growing.factor(900.0) == pytest.approx(1.5)
    assert growing.factor(3600.0) == pytest.approx(1.5**4)
    assert Schedule().next_change(0.0) == math.inf


def test_a_quota_that_grows_by_use_grows_as_far_as_it_was_used() -> None:
    """Used to the brim it allows half as much again; used by half it stays what it was at first."""
    full, half = (GrowingByUse(TokenBucket(600, 60.0, 10)) for _ in range(2))
    for second in range(900):
        for n in range(15):
            full.arrive(second + n / 15)
        for n in range(5):
            half.arrive(second + n / 5)
    assert steady(full, 40, 60, begin=900.0) == pytest.approx(900, rel=0.03)
    assert steady(half, 40, 60, begin=900.0) == pytest.approx(600, rel=0.03)
    assert full.sustained(0.0, 3600.0) == pytest.approx(9000 * (1 + 1.5 + 1.5**2 + 1.5**3))


def test_a_quota_that_grows_by_use_forgets_what_lies_more_than_a_block_back() -> None:
    """After a quarter of an hour without a call it allows what it did at first."""
    server = GrowingByUse(TokenBucket(600, 60.0, 10))
    for at in range(900 * 15):
        server.arrive(at / 15)
    assert steady(server, 40, 60, begin=1800.0) == pytest.approx(600, rel=0.03)
