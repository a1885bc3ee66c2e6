"""The mind of a gate against servers with a quota of their own, and its laws one by one."""

from __future__ import annotations

from collections import Counter
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchllm.core import CallCost, LimitHint, Outcome, ServerHint
from batchllm.policy import (
    Cause,
    ConcurrencySearch,
    CooldownEnded,
    CooldownPolicy,
    EpisodeStarted,
    RateLimiter,
    Learned,
    Limit,
    ScopeParked,
)
from batchllm.policy.cooldown import State
from batchllm.simulator import (
    Limits,
    QuotaServer,
    Schedule,
    SlidingLog,
    TokenBucket,
    exact_hint,
    no_hint,
)
from benchmarks.quota import Limited, Record, Traffic, bucket, fixed, simulate, sliding

ONE = CallCost()
MAKERS = {
    "bucket 60 s": lambda quota: bucket(quota, 60),
    "bucket 10 s": lambda quota: bucket(quota, 10),
    "bucket 1 s": lambda quota: bucket(quota, 1),
    "fixed 60 s": lambda quota: fixed(quota, 60),
    "sliding 60 s": lambda quota: sliding(quota, 60),
    "sliding, counts refusals": lambda quota: sliding(quota, 60, counts_refusals=True),
    "10 s windows": lambda quota: fixed(quota, 10),
    "1 s windows": lambda quota: fixed(quota, 1),
}
WINDOW = {"10 s windows": 10.0, "1 s windows": 1.0}


def serve(name: str, quota: int, seed: int) -> QuotaServer:
    """Make a server that gives no hints."""
    return MAKERS[name](quota)(Random(seed), no_hint)


def make(**given: object) -> RateLimiter:
    return RateLimiter(**{"rng": Random(1), "ramp": None, **given})  # type: ignore[arg-type]


@given(
    server=st.sampled_from(sorted(MAKERS)),
    quota=st.sampled_from([120, 300, 1200]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=40)
def test_a_declared_quota_is_never_refused_by_any_server(
    server: str, quota: int, seed: int
) -> None:
    """Whatever way the server counts, told the quota nothing is refused."""
    limit = Limit("requests", quota, window=WINDOW.get(server), jitter=0.1)
    mind = RateLimiter(rng=Random(seed), limits=[limit])
    there = serve(server, quota, seed)
    log = simulate(Limited(mind), there, rng=Random(seed), until=150.0)
    assert log.refused == []
    assert len(log.accepted) >= (0.85 if server in WINDOW else 0.99) * quota * 2.5 - 2


def test_the_servers_do_refuse_a_pace_that_is_too_high() -> None:
    """Declared 2 % too much, the same check fails."""
    mind = RateLimiter(rng=Random(1), limits=[Limit("requests", 612, jitter=0.0)])
    log = simulate(Limited(mind), Limits(SlidingLog(600, 60.0)), rng=Random(1), until=150.0)
    assert log.refused


def short_job(seed: int, *, hints: bool, told: bool) -> Record:
    limits = [Limit("requests", 3000)] if told else []
    mind = RateLimiter(rng=Random(seed), calls=200, limits=limits)
    traffic = Traffic(
        items=2000, callers=200, way=(0.001, 0.002), answer=lambda rng: rng.uniform(0.046, 0.048)
    )
    server = Limits(TokenBucket(50, 1.0, 50), hint=exact_hint if hints else no_hint)
    return simulate(Limited(mind), server, rng=Random(seed), traffic=traffic)


@pytest.mark.parametrize("hints", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_short_job_told_nothing_ends_near_the_ideal(seed: int, hints: bool) -> None:
    """2,000 items at 50 a second take at most 46 s, with less than 3 % refused."""
    log = short_job(seed, hints=hints, told=False)
    assert len(log.accepted) == 2000
    assert log.ended <= 1.15 * 40
    assert log.refused_share() < 0.03


def test_a_short_job_told_the_quota_ends_at_the_ideal_without_a_refusal() -> None:
    """Told, it takes at most 41.2 s."""
    log = short_job(1, hints=False, told=True)
    assert log.ended <= 1.03 * 40
    assert log.refused == []


@pytest.mark.parametrize("server", ["bucket 60 s", "fixed 60 s", "sliding 60 s"])
def test_an_unknown_quota_is_used_to_98_percent_after_ten_minutes(server: str) -> None:
    """Told nothing, less than 1 % of half an hour's calls is refused."""
    mind = RateLimiter(rng=Random(1), calls=1000)
    log = simulate(Limited(mind), serve(server, 600, 1), rng=Random(1), until=1800.0)
    assert log.accepted_between(600, 1800) >= 0.98 * 600 * 20
    assert log.refused_share() < 0.01
    learned = mind.learned(1800.0)
    assert learned is not None
    assert learned.lo == pytest.approx(10.0, rel=0.03)


def test_a_quota_that_halves_is_followed_with_few_refusals() -> None:
    """The server gives half from minute 20 on: used again to 95 %, under 2 % refused."""
    halving = Schedule(((1200.0, 0.5),))
    server = Limits(TokenBucket(10, 1.0, 100), schedule=halving, hint=no_hint)
    mind = RateLimiter(rng=Random(1), calls=1000)
    log = simulate(Limited(mind), server, rng=Random(1), until=3000.0)
    assert log.accepted_between(1800, 3000) >= 0.95 * 5 * 1200
    assert sum(at > 1200 for at in log.refused) < 0.02 * 5 * 1800


def test_a_herd_refused_at_once_is_one_episode_and_one_canary() -> None:
    """500 calls in flight: one pause, then one call alone, then a paced line."""
    mind = make()
    sends = [mind.on_send(0.0, ONE) for _ in range(500)]
    for number, send in enumerate(sends):
        mind.on_result(0.1 + number / 10_000, send, Outcome.THROTTLED)
    snapshot = mind.snapshot(0.2)
    assert (snapshot.episodes, snapshot.throttled, snapshot.state) == (1, 500, State.CLOSED)
    at = mind.next_time(0.2, ONE)
    assert at == snapshot.until
    canary = mind.on_send(at, ONE)
    assert mind.next_time(at, ONE) > at
    mind.on_result(at + 0.1, canary, "ok")
    assert mind.next_time(at + 0.1, ONE) > at + 0.1, "paced, no herd"
    assert mind.in_flight == 0
    kinds = Counter(type(event) for event in mind.drain_events())
    assert (kinds[EpisodeStarted], kinds[CooldownEnded]) == (1, 1)
    assert not mind.has_events


@given(st.integers(0, 1000), st.integers(-(2**16), 2**16))
@settings(max_examples=20)
def test_the_same_trace_gives_the_same_decisions_wherever_the_clock_begins(
    seed: int, shift: int
) -> None:
    """Chance comes from the rng, time from the caller: nothing else decides."""

    def trace(origin: float) -> list[float]:
        rng, mind, now = Random(seed), RateLimiter(rng=Random(seed), calls=20), origin
        answers, flying = [], []
        for _ in range(200):
            now += rng.randint(0, 32) / 64
            at = mind.next_time(now, ONE)
            answers.append(at - origin)
            if at <= now:
                flying.append(mind.on_send(now, ONE))
            elif flying:
                outcome = rng.choice([Outcome.OK, Outcome.OK, Outcome.THROTTLED])
                mind.on_result(now, flying.pop(0), outcome)
        return answers

    assert trace(float(shift)) == pytest.approx(trace(0.0), abs=1e-6)


@given(st.integers(0, 10_000))
def test_in_flight_returns_to_zero_whatever_happens_to_the_calls(seed: int) -> None:
    """Each call ends once, in any way and order, and a parked or open scope is consistent."""
    rng, now = Random(seed), 0.0
    mind = RateLimiter(
        rng=rng, calls=8, limits=[Limit("tokens", 10_000), Limit("requests", 600)], ramp=2
    )
    flying = []
    for _ in range(150):
        now += rng.random()
        cost = CallCost(1, rng.randint(0, 50), rng.randint(0, 50))
        if mind.next_time(now, cost) <= now:
            flying.append(mind.on_send(now, cost))
            assert mind.in_flight <= 8
        if flying and rng.random() < 0.5:
            send = flying.pop(rng.randrange(len(flying)))
            match rng.randrange(4):
                case 0:
                    mind.on_cancel(now, send)
                case 1:
                    mind.on_release(now, send)
                case _:
                    outcome = rng.choice([each for each in Outcome if each != "exhausted"])
                    mind.on_result(now, send, outcome, None, 10, None)
    for send in flying:
        mind.on_cancel(now, send)
    assert mind.in_flight == 0
    assert mind.parked is None
    assert mind.next_time(now, ONE) < inf


def test_a_call_ends_once() -> None:
    """A second end would free a place that another call has."""
    mind = make()
    send = mind.on_send(0.0, ONE)
    mind.on_release(0.0, send)
    with pytest.raises(ValueError, match="ended already"):
        mind.on_result(1.0, send, "ok")


def test_the_cap_on_calls_is_exact_and_may_change() -> None:
    """With the cap reached only the end of a call is news."""
    mind = make(calls=1)
    send = mind.on_send(0.0, ONE)
    assert mind.next_time(0.0, ONE) == inf
    mind.set_calls(2)
    assert mind.next_time(0.0, ONE) == 0.0
    mind.set_calls(None)
    assert mind.calls is None
    assert mind.free
    mind.on_result(1.0, send, "ok")


def test_a_cold_start_ramps_up_unless_the_quota_is_known() -> None:
    """Five calls at first; a declared limit on requests or a learned pace needs no ramp."""
    mind = RateLimiter(rng=Random(1))
    sends = [mind.on_send(0.0, ONE) for _ in range(5)]
    assert mind.next_time(0.0, ONE) == 3.2
    mind.on_result(0.1, sends[0], "ok")
    assert mind.next_time(0.1, ONE) == 0.1
    declared = RateLimiter(rng=Random(1), limits=[Limit("requests", 6000)])
    remembered = RateLimiter(rng=Random(1), learned=Learned(lo=10.0, hi=11.0, age=3600.0))
    for each in (declared, remembered):
        now = 0.0
        for _ in range(6):
            now = each.next_time(now, ONE)
            each.on_send(now, ONE)
        assert now < 1.0
    old = RateLimiter(rng=Random(1), learned=Learned(lo=10.0, hi=11.0, age=90_000.0))
    assert old.snapshot(0.0).pace is None


def test_an_empty_account_a_long_hint_and_a_spent_day_park_the_scope() -> None:
    """Each says why and until when; nothing is sent before it is reopened."""
    empty = make()
    empty.on_result(1.0, empty.on_send(0.0, ONE), Outcome.EXHAUSTED)
    long = make()
    long.on_result(1.0, long.on_send(0.0, ONE), "throttled", ServerHint(wait=7200.0))
    daily = make()
    daily.on_result(1.0, daily.on_send(0.0, ONE), "throttled", ServerHint(wait=5.0, exhausted=True))
    spent = make(limits=[Limit("requests", 1, per=86_400.0)])
    send = spent.on_send(0.0, ONE)
    assert spent.next_time(1.0, ONE) > 86_000
    spent.on_result(1.0, send, "ok")
    assert spent.next_time(1.0, ONE) == inf
    causes = []
    for mind in (empty, long, daily, spent):
        assert mind.next_time(2.0, ONE) == inf
        parked = [each for each in mind.drain_events() if isinstance(each, ScopeParked)]
        assert len(parked) == 1
        causes.append((parked[0].cause, parked[0].until is not None))
    assert causes == [
        (Cause.EXHAUSTED, False),
        (Cause.HINT_TOO_LONG, True),
        (Cause.EXHAUSTED, True),
        (Cause.QUOTA_SPENT, True),
    ]
    empty.reopen(10.0)
    assert empty.next_time(10.0, ONE) == 10.0
    assert empty.on_send(10.0, ONE).canary


def test_an_overload_pauses_and_leaves_the_learned_pace_alone() -> None:
    """A server short of capacity says nothing about the quota."""
    mind = make(learned=Learned(lo=10.0, hi=11.0))
    before = mind.snapshot(0.0)
    mind.on_result(0.1, mind.on_send(0.0, ONE), "overloaded")
    after = mind.snapshot(0.1)
    assert after.cause is Cause.OVERLOADED
    assert (after.pace, after.lo, after.hi) == (before.pace, before.lo, before.hi)
    mind.on_send(1.0, ONE)
    mind.on_send(3.0, ONE)
    assert mind.snapshot(3.0).pace == before.pace


def test_failures_in_a_row_open_the_breaker_and_one_answer_closes_it() -> None:
    """A dead endpoint gets one canary at a time, without learning a quota from it."""
    mind = make(breaker_after=3)
    for now in (0.1, 5.0, 10.0):
        mind.on_result(now, mind.on_send(now - 0.1, ONE), "transient")
        assert mind.snapshot(now).state is State.OPEN  # as yet it may be the items
    mind.on_result(10.2, mind.on_send(10.1, ONE), "transient")
    assert mind.snapshot(10.2).cause is Cause.BREAKER
    first = mind.next_time(10.2, ONE)
    mind.on_result(first + 1, mind.on_send(first, ONE), "timeout")
    second = mind.next_time(first + 1, ONE)
    assert second > first + 2
    mind.on_result(second + 1, mind.on_send(second, ONE), "bad_output")
    assert mind.snapshot(second + 1).state is State.OPEN
    assert mind.snapshot(second + 1).pace is None
    mind.on_breaker(second + 2)
    assert mind.snapshot(second + 2).state is State.CLOSED


def test_a_cancelled_canary_is_replaced_at_once() -> None:
    """Cancelling a caller neither opens the scope nor holds it shut."""
    mind = make()
    mind.on_result(0.1, mind.on_send(0.0, ONE), "throttled")
    at = mind.next_time(0.1, ONE)
    mind.on_cancel(at + 0.2, mind.on_send(at, ONE))
    assert mind.next_time(at + 0.2, ONE) == at + 0.2
    assert mind.on_send(at + 0.2, ONE).canary


def test_a_canary_that_failed_for_another_reason_was_not_refused() -> None:
    """A broken connection after a throttle ends the pause."""
    mind = make()
    mind.on_result(0.1, mind.on_send(0.0, ONE), "throttled")
    at = mind.next_time(0.1, ONE)
    mind.on_result(at + 0.2, mind.on_send(at, ONE), "transient")
    assert mind.snapshot(at + 0.2).state is State.OPEN


def test_a_limit_told_with_the_refusal_is_kept_and_not_searched_for() -> None:
    """A body that names 20 requests a minute spares the search."""
    mind = make()
    told = LimitHint(dimension="requests", amount=20, per=60.0)
    mind.on_result(0.1, mind.on_send(0.0, ONE), "throttled", ServerHint(wait=36.0, limits=(told,)))
    at = mind.next_time(0.1, ONE)
    assert at == pytest.approx(36.1)
    mind.on_result(at + 0.1, mind.on_send(at, ONE), "ok")
    snapshot = mind.snapshot(at + 1)
    assert snapshot.pace is None
    assert [limit.amount for limit in snapshot.limits] == [20]
    assert mind.next_time(at + 0.1, ONE) == pytest.approx(at + 3.0, abs=0.1)


def test_the_fixed_policy_starts_slowly_and_learns_no_pace() -> None:
    """After 300 s one line of starts, then full speed as before."""
    policy = CooldownPolicy.fixed(slow_start_items=3, slow_start_initial_delay=2.0)
    mind = make(cooldown=policy)
    mind.on_result(0.1, mind.on_send(0.0, ONE), "throttled")
    now, starts = 0.1, []
    for _ in range(5):
        now = mind.next_time(now, ONE)
        mind.on_send(now, ONE)
        starts.append(round(now, 3))
    assert starts == [300.1, 302.1, 303.15, 303.25, 303.25]
    assert mind.snapshot(now).pace is None
    assert mind.free


def test_the_cap_is_learned_where_the_server_queues() -> None:
    """With a search for concurrency its limit holds within the cap."""
    mind = make(adapt=ConcurrencySearch(start=2), calls=50)
    sends = [mind.on_send(0.0, ONE) for _ in range(2)]
    assert mind.next_time(0.0, ONE) == inf
    mind.on_result(0.1, sends[0], "ok")
    mind.on_result(0.1, sends[1], "throttled")
    assert mind.next_time(5.0, ONE) == 5.0
    mind.on_send(5.0, ONE)
    assert mind.next_time(9.0, ONE) == inf


def test_an_item_that_never_fits_is_named_with_its_limit() -> None:
    """The caller fails it at once instead of waiting for ever."""
    limit = Limit("tokens", 100)
    mind = make(limits=[limit])
    assert mind.oversize(CallCost(1, 90, 20)) == limit
    assert mind.next_time(0.0, CallCost(1, 90, 20)) == inf
