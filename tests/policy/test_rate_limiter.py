"""The rate limiter against servers with a quota of their own, and its behaviour rule by rule."""

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
    Learned,
    Limit,
    RateLimiter,
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
from tests.examples import examples

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
    return RateLimiter(**{"rng": Random(1), "cold_start": False, **given})  # type: ignore[arg-type]


@given(
    server=st.sampled_from(sorted(MAKERS)),
    quota=st.sampled_from([120, 300, 1200]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=examples(40))
def test_a_declared_quota_is_never_refused_by_any_server(
    server: str, quota: int, seed: int
) -> None:
    """With the quota declared nothing is refused, whatever way the server counts."""
    limit = Limit("requests", quota, window=WINDOW.get(server), jitter=0.1)
    limiter = RateLimiter(rng=Random(seed), limits=[limit])
    there = serve(server, quota, seed)
    log = simulate(Limited(limiter), there, rng=Random(seed), until=150.0)
    assert log.refused == []
    assert len(log.accepted) >= (0.85 if server in WINDOW else 0.99) * quota * 2.5 - 2


def test_the_servers_do_refuse_a_pace_that_is_too_high() -> None:
    """Declared 2 % too much, the same check fails."""
    limiter = RateLimiter(rng=Random(1), limits=[Limit("requests", 612, jitter=0.0)])
    log = simulate(Limited(limiter), Limits(SlidingLog(600, 60.0)), rng=Random(1), until=150.0)
    assert log.refused


def short_job(seed: int, *, hints: bool, declared: bool) -> Record:
    limits = [Limit("requests", 3000)] if declared else []
    limiter = RateLimiter(rng=Random(seed), calls=200, limits=limits)
    traffic = Traffic(
        items=2000, callers=200, way=(0.001, 0.002), answer=lambda rng: rng.uniform(0.046, 0.048)
    )
    server = Limits(TokenBucket(50, 1.0, 50), hint=exact_hint if hints else no_hint)
    return simulate(Limited(limiter), server, rng=Random(seed), traffic=traffic)


@pytest.mark.parametrize("hints", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_short_job_against_an_unknown_quota_ends_near_the_ideal(seed: int, hints: bool) -> None:
    """2,000 items at 50 a second take at most 46 s, with less than 3 % refused."""
    log = short_job(seed, hints=hints, declared=False)
    assert len(log.accepted) == 2000
    assert log.ended <= 1.15 * 40
    assert log.refused_share() < 0.03


def test_a_short_job_with_its_quota_declared_ends_at_the_ideal_without_a_refusal() -> None:
    """It takes at most 41.2 s."""
    log = short_job(1, hints=False, declared=True)
    assert log.ended <= 1.03 * 40
    assert log.refused == []


@pytest.mark.parametrize("server", ["bucket 60 s", "fixed 60 s", "sliding 60 s"])
def test_an_unknown_quota_is_used_to_98_percent_after_ten_minutes(server: str) -> None:
    """Without a hint, less than 1 % of half an hour's calls is refused."""
    limiter = RateLimiter(rng=Random(1), calls=1000)
    log = simulate(Limited(limiter), serve(server, 600, 1), rng=Random(1), until=1800.0)
    assert log.accepted_between(600, 1800) >= 0.98 * 600 * 20
    assert log.refused_share() < 0.01
    learned = limiter.learned(1800.0)
    assert learned is not None
    # A window's rate is known to a tenth: what was accepted between two recoveries of a probe.
    assert learned.rate == pytest.approx(10.0, rel=0.03 if "bucket" in server else 0.1)


def test_a_quota_that_halves_is_followed_with_few_refusals() -> None:
    """The server gives half from minute 20 on: used again to 95 %, under 2 % refused."""
    halving = Schedule(((1200.0, 0.5),))
    server = Limits(TokenBucket(10, 1.0, 100), schedule=halving, hint=no_hint)
    limiter = RateLimiter(rng=Random(1), calls=1000)
    log = simulate(Limited(limiter), server, rng=Random(1), until=3000.0)
    assert log.accepted_between(1800, 3000) >= 0.95 * 5 * 1200
    assert sum(at > 1200 for at in log.refused) < 0.02 * 5 * 1800


def test_a_herd_refused_at_once_is_one_episode_and_one_canary() -> None:
    """500 calls in flight: one pause, then one call alone, then a paced line."""
    limiter = make()
    for _ in range(50):
        limiter.on_result(0.0, limiter.on_send(0.0, ONE), "ok")
    sends = [limiter.on_send(0.0, ONE) for _ in range(500)]
    for number, send in enumerate(sends):
        limiter.on_result(0.1 + number / 10_000, send, Outcome.THROTTLED)
    snapshot = limiter.snapshot(0.2)
    assert (snapshot.episodes, snapshot.throttled, snapshot.state) == (1, 500, State.CLOSED)
    at = limiter.next_time(0.2, ONE)
    assert at == snapshot.until
    canary = limiter.on_send(at, ONE)
    assert limiter.next_time(at, ONE) > at
    limiter.on_result(at + 0.1, canary, "ok")
    assert limiter.next_time(at + 0.1, ONE) > at + 0.1, "paced, no herd"
    assert limiter.in_flight == 0
    kinds = Counter(type(event) for event in limiter.drain_events())
    assert (kinds[EpisodeStarted], kinds[CooldownEnded]) == (1, 1)
    assert not limiter.events


@given(st.integers(0, 1000), st.integers(-(2**16), 2**16))
@settings(max_examples=examples(20))
def test_the_same_trace_gives_the_same_decisions_wherever_the_clock_begins(
    seed: int, shift: int
) -> None:
    """Chance comes from the rng, time from the caller: nothing else decides."""

    def trace(origin: float) -> list[float]:
        rng, limiter, now = Random(seed), RateLimiter(rng=Random(seed), calls=20), origin
        answers, flying = [], []
        for _ in range(200):
            now += rng.randint(0, 32) / 64
            at = limiter.next_time(now, ONE)
            answers.append(at - origin)
            if at <= now:
                flying.append(limiter.on_send(now, ONE))
            elif flying:
                outcome = rng.choice([Outcome.OK, Outcome.OK, Outcome.THROTTLED])
                limiter.on_result(now, flying.pop(0), outcome)
        return answers

    assert trace(float(shift)) == pytest.approx(trace(0.0), abs=1e-6)


@given(st.integers(0, 10_000))
def test_in_flight_returns_to_zero_whatever_happens_to_the_calls(seed: int) -> None:
    """Each call ends once, in any way and order, and a parked or open scope is consistent."""
    rng, now = Random(seed), 0.0
    limiter = RateLimiter(
        rng=rng, calls=8, limits=[Limit("tokens", 10_000), Limit("requests", 600)]
    )
    flying = []
    for _ in range(150):
        now += rng.random()
        cost = CallCost(1, rng.randint(0, 50), rng.randint(0, 50))
        if limiter.next_time(now, cost) <= now:
            flying.append(limiter.on_send(now, cost))
            assert limiter.in_flight <= 8
        if flying and rng.random() < 0.5:
            send = flying.pop(rng.randrange(len(flying)))
            match rng.randrange(4):
                case 0:
                    limiter.on_cancel(now, send)
                case 1:
                    limiter.on_release(now, send)
                case _:
                    outcome = rng.choice([each for each in Outcome if each != "exhausted"])
                    limiter.on_result(now, send, outcome, None, 10, None)
    for send in flying:
        limiter.on_cancel(now, send)
    assert limiter.in_flight == 0
    assert limiter.parked is None
    assert limiter.next_time(now, ONE) < inf


def test_a_call_ends_once() -> None:
    """A second end would free a place that another call has."""
    limiter = make()
    send = limiter.on_send(0.0, ONE)
    limiter.on_release(0.0, send)
    with pytest.raises(ValueError, match="ended already"):
        limiter.on_result(1.0, send, "ok")


def test_the_cap_on_calls_is_exact_and_may_change() -> None:
    """With the cap reached only the end of a call can make room."""
    limiter = make(calls=1)
    send = limiter.on_send(0.0, ONE)
    assert limiter.next_time(0.0, ONE) == inf
    limiter.set_calls(2)
    assert limiter.next_time(0.0, ONE) == 0.0
    limiter.set_calls(None)
    assert limiter.calls is None
    assert limiter.room == inf
    limiter.on_result(1.0, send, "ok")


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
    for limiter in (empty, long, daily, spent):
        assert limiter.next_time(2.0, ONE) == inf
        parked = [each for each in limiter.drain_events() if isinstance(each, ScopeParked)]
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


def test_a_cancelled_canary_is_replaced_at_once() -> None:
    """Cancelling a caller neither opens the scope nor holds it shut."""
    limiter = make()
    limiter.on_result(0.1, limiter.on_send(0.0, ONE), "throttled")
    at = limiter.next_time(0.1, ONE)
    limiter.on_cancel(at + 0.2, limiter.on_send(at, ONE))
    assert limiter.next_time(at + 0.2, ONE) == at + 0.2
    assert limiter.on_send(at + 0.2, ONE).canary


def test_a_canary_that_failed_for_another_reason_was_not_refused() -> None:
    """A broken connection after a throttle ends the pause."""
    limiter = make()
    limiter.on_result(0.1, limiter.on_send(0.0, ONE), "throttled")
    at = limiter.next_time(0.1, ONE)
    limiter.on_result(at + 0.2, limiter.on_send(at, ONE), "transient")
    assert limiter.snapshot(at + 0.2).state is State.OPEN


def test_a_limit_reported_with_the_refusal_is_kept_and_not_searched_for() -> None:
    """A body that names 20 requests a minute spares the search."""
    limiter = make()
    reported = LimitHint(dimension="requests", amount=20, per=60.0)
    hint = ServerHint(wait=36.0, limits=(reported,))
    limiter.on_result(0.1, limiter.on_send(0.0, ONE), "throttled", hint)
    at = limiter.next_time(0.1, ONE)
    assert at == pytest.approx(36.1)
    limiter.on_result(at + 0.1, limiter.on_send(at, ONE), "ok")
    snapshot = limiter.snapshot(at + 1)
    assert snapshot.pace is None
    assert [limit.amount for limit in snapshot.limits] == [20]
    assert limiter.next_time(at + 0.1, ONE) == pytest.approx(at + 3.0, abs=0.1)


def test_the_cap_is_learned_where_the_server_queues() -> None:
    """With a search for concurrency its limit holds within the cap."""
    limiter = make(adapt=ConcurrencySearch(start=2), calls=50)
    sends = [limiter.on_send(0.0, ONE) for _ in range(2)]
    assert limiter.next_time(0.0, ONE) == inf
    limiter.on_result(0.1, sends[0], "ok")
    limiter.on_result(0.1, sends[1], "throttled")
    assert limiter.next_time(5.0, ONE) == 5.0
    limiter.on_send(5.0, ONE)
    assert limiter.next_time(9.0, ONE) == inf


def test_an_item_that_never_fits_is_named_with_its_limit() -> None:
    """The caller fails it at once instead of waiting for ever."""
    limit = Limit("tokens", 100)
    limiter = make(limits=[limit])
    assert limiter.oversize(CallCost(1, 90, 20)) == limit
    assert limiter.next_time(0.0, CallCost(1, 90, 20)) == inf


def refuse(limiter: RateLimiter, now: float, wait: float | None = None) -> None:
    """Send one call and have it refused a tenth of a second later."""
    hint = None if wait is None else ServerHint(wait=wait)
    limiter.on_result(now + 0.1, limiter.on_send(now, ONE), "throttled", hint)


def test_a_cold_start_begins_with_eight_calls_unless_the_quota_is_known() -> None:
    """The window opens by time; a declared limit on requests or a learned rate needs none."""
    limiter = RateLimiter(rng=Random(1))
    for _ in range(8):
        assert limiter.next_time(0.0, ONE) == 0.0
        limiter.on_send(0.0, ONE)
    assert 0.0 < limiter.next_time(0.0, ONE) < 0.25
    declared = RateLimiter(rng=Random(1), limits=[Limit("requests", 6000)])
    remembered = RateLimiter(rng=Random(1), learned=Learned(rate=10.0, age=3600.0))
    for each in (declared, remembered):
        now = 0.0
        for _ in range(9):
            now = each.next_time(now, ONE)
            each.on_send(now, ONE)
        assert now < 1.0
    old = RateLimiter(rng=Random(1), learned=Learned(rate=10.0, age=86_401.0))
    assert old.snapshot(0.0).pace is None
    young = RateLimiter(rng=Random(1), learned=Learned(rate=10.0, age=86_400.0))
    assert young.snapshot(0.0).pace == pytest.approx(9.8)


def test_a_cold_start_ends_at_the_cap_on_calls() -> None:
    """With nothing left to open a limiter without limits is free, as if it were not there."""
    limiter = RateLimiter(rng=Random(1), calls=20)
    now, sends = 0.0, []
    while len(sends) < 20:
        while (at := limiter.next_time(now, ONE)) > now:
            now = at
        sends.append(limiter.on_send(now, ONE))
    assert now == pytest.approx(0.25 * 1.3219, abs=0.01)  # log2(20 / 8) doublings
    limiter.on_result(3.0, sends[0], "ok")
    assert limiter.room == inf


def test_an_overload_pauses_and_leaves_the_learned_rate_alone() -> None:
    """A server short of capacity shows nothing of its quota."""
    limiter = make(learned=Learned(rate=10.0))
    before = limiter.snapshot(0.0)
    limiter.on_result(0.1, limiter.on_send(0.0, ONE), "overloaded")
    limiter.next_time(0.5, ONE)
    after = limiter.snapshot(0.5)
    assert after.cause is Cause.OVERLOADED
    assert after.rate == before.rate == 10.0
    now = 0.5
    for _ in range(2):
        now = limiter.next_time(now, ONE)
        limiter.on_result(now + 0.1, limiter.on_send(now, ONE), "ok")
    assert limiter.snapshot(now + 0.1).state is State.OPEN
    assert limiter.snapshot(now + 0.1).rate == 10.0
    assert after.pace == pytest.approx(before.pace, rel=0.01)


def test_nothing_is_sent_before_it_is_known_what_a_refusal_means() -> None:
    """A refusal after 0.1 s is judged 0.2 s after the last send, or when the rest has answered."""
    limiter = make()
    sends = [limiter.on_send(number / 100, ONE) for number in range(4)]
    limiter.on_result(0.1, sends[0], "throttled")
    assert limiter.snapshot(0.1).state is State.JUDGING
    assert limiter.next_time(0.1, ONE) == pytest.approx(0.03 + 0.2)
    for at, send in zip((0.11, 0.12, 0.13), sends[1:], strict=True):
        limiter.on_result(at, send, "throttled")
    assert limiter.snapshot(0.13).state is State.CLOSED


def test_a_single_refusal_among_accepted_calls_is_a_leak_and_pauses_nothing() -> None:
    """The pace is cut, the hint binds its own call only, and the line goes on two slots later."""
    limiter = make(learned=Learned(rate=10.0))
    now, sends = 0.0, []
    for _ in range(60):
        now = limiter.next_time(now, ONE)
        sends.append(limiter.on_send(now, ONE))
    limiter.on_result(now + 0.01, sends[57], "throttled", ServerHint(wait=30.0))
    judged = limiter.next_time(now + 0.01, ONE)
    again = limiter.next_time(judged, ONE)
    snapshot = limiter.snapshot(judged)
    assert (snapshot.state, snapshot.episodes, snapshot.throttled) == (State.OPEN, 1, 1)
    assert snapshot.rate is not None
    assert snapshot.pace is not None
    assert snapshot.pace < snapshot.rate <= 10.0
    assert again - judged == pytest.approx(2 / snapshot.rate)
    assert not limiter.on_send(again, ONE).canary


def test_a_lone_refusal_waits_for_its_hint_and_a_canary() -> None:
    """With nothing else on its way only the next call can show what it meant."""
    limiter = make()
    refuse(limiter, 0.0, wait=7.0)
    assert limiter.next_time(0.1, ONE) == pytest.approx(7.1)
    assert limiter.on_send(7.2, ONE).canary
    assert limiter.next_time(7.2, ONE) == pytest.approx(7.4), "twice the time to a refusal"


def test_a_refused_canary_waits_for_the_longer_of_its_hint_and_our_own_pause() -> None:
    """A hint of 1 s from a window of a minute is asked for again ever more rarely."""
    limiter = make()
    refuse(limiter, 0.0, wait=1.0)
    now, pauses = 0.1, []
    for _ in range(7):
        at = limiter.next_time(now, ONE)
        pauses.append(at - now)
        refuse(limiter, at, wait=1.0)
        now = at + 0.1
    assert pauses[0] == pytest.approx(1.0)
    means = [2, 4, 8, 16, 20, 20]
    assert all(0.8 * m <= p <= 1.2 * m for p, m in zip(pauses[1:], means, strict=True))
    assert limiter.snapshot(now).episodes == 1


def test_a_scope_is_parked_when_no_call_was_accepted_for_park_after_seconds() -> None:
    """However many canaries are refused before: it is time that counts, 900 s by default."""
    limiter, now, refused = make(), 0.0, 0
    while limiter.parked is None:
        now = limiter.next_time(now, ONE)
        refuse(limiter, now)
        now, refused = now + 0.1, refused + 1
    assert limiter.parked.cause is Cause.NOTHING_ACCEPTED
    assert 900.0 <= now <= 925.0
    assert refused > 40
    (parked,) = [each for each in limiter.drain_events() if isinstance(each, ScopeParked)]
    assert parked.cause is Cause.NOTHING_ACCEPTED
    assert limiter.next_time(1e6, ONE) == inf


def test_what_was_asked_is_over_when_a_call_sent_later_is_accepted() -> None:
    """The answer of a call sent after the last refused one ends the pause of a wrong hint."""
    limiter = make()
    first, second, third = (limiter.on_send(at, ONE) for at in (0.0, 0.01, 0.02))
    limiter.on_result(0.1, first, "throttled", ServerHint(wait=60.0))
    limiter.on_result(0.11, second, "throttled", ServerHint(wait=60.0))
    assert limiter.next_time(0.22, ONE) == pytest.approx(60.11)
    limiter.on_result(2.0, third, "ok")
    assert limiter.snapshot(2.0).state is State.OPEN


def test_a_late_refusal_of_a_call_from_before_a_cut_opens_no_episode() -> None:
    """Calls on their way while the quota ran out say nothing about the pace after it."""
    limiter = make()
    late, first, second = (limiter.on_send(at, ONE) for at in (0.0, 0.01, 0.02))
    limiter.on_result(0.1, first, "throttled")
    limiter.on_result(0.1, second, "throttled")
    at = limiter.next_time(0.3, ONE)
    limiter.on_result(at + 0.1, limiter.on_send(at, ONE), "ok")
    before = limiter.snapshot(at + 0.2)
    limiter.on_result(at + 0.2, late, "throttled")
    after = limiter.snapshot(at + 0.2)
    assert (after.state, after.episodes, after.rate) == (State.OPEN, 1, before.rate)
    assert after.throttled == before.throttled + 1


def test_a_reopened_scope_does_not_measure_the_time_that_it_was_parked() -> None:
    """A rate over a dead hour would be next to nothing."""
    limiter = make(park_after=100.0)
    now = 0.0
    for number in range(50):
        limiter.on_result(number / 10 + 0.5, limiter.on_send(number / 10, ONE), "ok")
    now = 5.5
    while limiter.parked is None:
        now = limiter.next_time(now, ONE)
        refuse(limiter, now)
        now += 0.1
    limiter.reopen(4000.0)
    assert limiter.next_time(4000.0, ONE) == 4000.0
    canary = limiter.on_send(4000.0, ONE)
    assert canary.canary
    limiter.on_result(4000.1, canary, "ok")
    assert limiter.snapshot(4000.1).state is State.OPEN
    assert limiter.snapshot(4000.1).rate is None


def test_an_idle_stretch_before_a_refusal_lowers_the_rate_by_no_more_than_a_leak_does() -> None:
    """Calls that were not made show nothing of what the server would have accepted."""
    limiter = make(learned=Learned(rate=10.0))
    now = 0.0
    for _ in range(50):
        now = limiter.next_time(now, ONE)
        limiter.on_result(now + 0.05, limiter.on_send(now, ONE), "ok")
    idle = now + 1200.0
    refuse(limiter, idle, wait=5.0)
    at = limiter.next_time(idle + 0.1, ONE)
    limiter.on_result(at + 0.1, limiter.on_send(at, ONE), "ok")
    rate = limiter.snapshot(at + 0.1).rate
    assert rate is not None
    assert rate > 0.45 * 10.0


def test_the_fixed_policy_starts_slowly_and_learns_no_pace() -> None:
    """After 300 s one line of starts, then full speed as before."""
    limiter = make(cooldown=CooldownPolicy(slow_start_items=3, slow_start_initial=2.0))
    limiter.on_result(0.1, limiter.on_send(0.0, ONE), "throttled")
    now, starts = 0.1, []
    for _ in range(5):
        now = limiter.next_time(now, ONE)
        limiter.on_send(now, ONE)
        starts.append(round(now, 3))
    assert starts == [300.1, 302.1, 303.15, 303.25, 303.25]
    assert limiter.snapshot(now).pace is None
    assert limiter.room == inf


@pytest.mark.parametrize("cold_start", [True, False])
def test_a_success_ends_the_fixed_policy_s_row_of_refusals_without_a_slow_start(
    cold_start: bool,
) -> None:
    """The pause after it is the first of a row again, also if nothing held the call back."""
    policy = CooldownPolicy(slow_start_items=0)
    limiter = RateLimiter(rng=Random(1), cooldown=policy, cold_start=cold_start)
    limiter.on_result(0.1, limiter.on_send(0.0, ONE), "throttled")
    assert limiter.next_time(0.1, ONE) == pytest.approx(300.1)
    limiter.on_result(301.0, limiter.on_send(300.5, ONE), "ok")
    limiter.on_result(302.0, limiter.on_send(301.5, ONE), "throttled")
    assert limiter.next_time(302.0, ONE) == pytest.approx(602.0)


def test_failed_connections_are_no_proof_that_a_scope_is_served() -> None:
    """A quota that accepts nothing parks its scope, also if each fourth call cannot connect."""
    limiter = make()
    now = 0.0
    for number in range(5_000):
        at = limiter.next_time(now, ONE)
        if limiter.parked is not None:
            break
        now = max(now, at)
        outcome = "transient" if number % 4 == 3 else "throttled"
        limiter.on_result(now + 0.1, limiter.on_send(now, ONE), outcome)
        now += 0.1
    assert limiter.parked is not None
    assert limiter.parked.cause is Cause.NOTHING_ACCEPTED
    assert now < 1_000.0
