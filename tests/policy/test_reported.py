"""Limits as servers report them: what a client that reads them makes of each kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import inf, isfinite
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import CallCost, LimitHint
from batchllm.policy import read_error
from batchllm.policy.admission import Admission
from batchllm.policy.bucket import Limit
from batchllm.policy.reported import Kind, ReportedLimit
from tests.policy.reported_servers import (
    Client,
    Limiter,
    Server,
    Sliding,
    Steady,
    Window,
    anthropic,
    openai,
    seconds,
)

ONE = CallCost()
NOW = 1_755_780_000.0


def exactly(wait: float) -> dict[str, str]:
    return {"retry-after-ms": str(math.ceil(wait * 1000))}


def rounded(wait: float) -> dict[str, str]:
    return {"retry-after": str(math.ceil(wait))}


def tokens(rng: Random) -> dict[str, int]:
    return {"requests": 1, "input-tokens": 25, "output-tokens": rng.randint(50, 200)}


WRITTEN = {"openai": (openai, exactly), "anthropic": (anthropic, rounded), "s": (seconds, rounded)}
SERVERS = [
    # how it is written, what it is, items, seconds of the quota, share of refusals
    ("openai", lambda: Window(100, 5.0, 2.0), 400, 20.0, 0.03),
    ("openai", lambda: Window(100, 5.0, 4.5), 400, 20.0, 0.03),
    ("openai", lambda: Window(50, 1.0), 500, 10.0, 0.06),
    ("openai", lambda: Window(1000, 17.0, 3.0), 5000, 85.0, 0.01),
    ("openai", lambda: Window(60, 60.0, 20.0), 240, 240.0, 0.03),
    ("openai", lambda: Steady(100, 5.0), 400, 20.0, 0.03),
    ("openai", lambda: Steady(60, 60.0), 240, 240.0, 0.04),
    ("openai", lambda: Sliding(100, 5.0), 400, 20.0, 0.15),
    ("anthropic", lambda: Steady(20, 1.0), 200, 10.0, 0.5),
    ("anthropic", lambda: Steady(50, 60.0), 200, 240.0, 0.1),
    ("anthropic", lambda: Window(20, 5.0), 200, 50.0, 0.2),
    ("s", lambda: Window(100, 10.0, 3.0), 400, 40.0, 0.03),
    ("s", lambda: Steady(100, 10.0), 400, 40.0, 0.2),
    ("s", lambda: Sliding(100, 10.0), 400, 40.0, 0.05),
]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("form", "limiter", "items", "ideal", "refused"), SERVERS)
def test_each_kind_in_each_form_is_used_well(
    form: str, limiter: Callable[[], Limiter], items: int, ideal: float, refused: float, seed: int
) -> None:
    """Within 1.1 of the quota's own time, though nobody says what kind or period it is.

    The refusals are those of the beginning: fifty calls start at once, before any reply.
    """
    style, retry = WRITTEN[form]
    client = Client(Server({"requests": limiter()}, style, retry=retry), items, seed=seed)
    assert client.run() <= 1.1 * ideal
    assert client.refused <= refused * items


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_tokens_are_scaled_by_what_the_server_took(seed: int) -> None:
    """No usage is reported and the estimates are eight times too large; only `remaining` shows it.

    Output tokens are what binds: 25,000 of them at 2,000 a second, less the first 4,000.
    """
    limits: dict[str, Limiter] = {
        "requests": Steady(20, 1.0),
        "input-tokens": Steady(4000, 2.0),
        "output-tokens": Steady(4000, 2.0),
    }
    server = Server(limits, anthropic, tokens, rounded)
    client = Client(server, 200, seed=seed, cost=CallCost(1, 30, 1024))
    assert client.run() <= 1.25 * 10.5


def test_slow_answers_do_not_make_readings_worthless() -> None:
    """A reply of half a minute ago says what was left then; what was sent since is known."""
    for limiter in (Steady(600, 60.0), Window(600, 60.0, 10.0)):
        client = Client(Server({"requests": limiter}, openai, retry=exactly), 4000, callers=500,
                        latency=(5.0, 30.0))  # fmt: skip
        assert client.run() <= 1.1 * 400
        assert client.refused <= 10


def test_the_kind_is_the_one_that_the_next_reply_confirms() -> None:
    """One reply fits both: a window that ends in 5 s, or a bucket that is full again in 5 s."""
    first = LimitHint(dimension="requests", amount=100, remaining=90, reset=5.0)
    for left, reset, kind in ((80, 4.5, Kind.WINDOW), (80, 10.0, Kind.STEADY)):
        limit = ReportedLimit("requests")
        limit.observe(first, 0.1, 0.0, 10)
        assert limit.kind is Kind.UNKNOWN
        second = LimitHint(dimension="requests", amount=100, remaining=left, reset=reset)
        limit.observe(second, 0.6, 0.5, 20)
        assert limit.kind is kind


def test_until_then_remaining_and_reset_alone_steer() -> None:
    """No more than remains until the reset, and then the whole amount."""
    admission = Admission()
    first = admission.take(0.0, ONE)
    hint = LimitHint(dimension="requests", amount=3, remaining=2, reset=5.0, assumed=True, per=60.0)
    assert not admission.observe(hint, 0.1, 0.0, first)
    assert admission.limits == ()
    assert not admission.limits_requests
    for _ in range(2):
        assert admission.next_time(0.2, ONE) == 0.2
        admission.take(0.2, ONE)
    assert admission.next_time(0.2, ONE) > 1.0


def confirmed_bucket(*, own_address: bool) -> Admission:
    """600 per 10 s, written as a limit without a period, seen in two replies."""
    admission = Admission(own_address=own_address)
    for sent_at, left, reset in ((0.0, 540, 1.0), (0.01, 480, 2.0), (0.02, 420, 3.0)):
        admitted = [admission.take(sent_at, ONE) for _ in range(60)][-1]
        hint = LimitHint(dimension="requests", amount=600, remaining=left, reset=reset, per=60.0,
                         name="requests", source="headers", assumed=True)  # fmt: skip
        admission.observe(hint, sent_at + 0.005, sent_at, admitted)
    return admission


def test_a_minute_is_assumed_at_a_providers_own_address_until_replies_contradict() -> None:
    """Then the period is the one that they show, as it is anywhere else at once."""
    for own in (True, False):
        admission = confirmed_bucket(own_address=own)
        assert [(one.amount, one.per) for one in admission.limits] == [(600, pytest.approx(10.0))]
        assert admission.limits_requests
        adopted = [(limit.per, source) for limit, source in admission.drain_adopted()]
        assert adopted[-1] == (pytest.approx(10.0), "headers of several replies")
        assert (60.0 in [per for per, _ in adopted]) is own
        assert admission.drain_adopted() == []


def test_a_limit_whose_period_drifts_is_adopted_once() -> None:
    """Little of it is used, and its reset is in whole seconds; another amount is another limit."""
    admission = Admission()
    order = 0

    def reply(amount: int, used: float, reset: float) -> None:
        nonlocal order
        order += 1
        at = float(order)
        admitted = admission.take(at, CallCost(1, 20, 20))
        hint = LimitHint(
            dimension="input_tokens",
            amount=amount,
            remaining=amount - used,
            reset=reset,
            per=None,
            name="anthropic input-tokens",
            source="headers",
        )
        admission.observe(hint, at + 0.01, at, admitted)

    for number in range(200):  # what it seems to be drifts from 100 s down to 1 s
        reply(2_000, 20.0, max(0.01, 1.0 - number / 200))
    assert [limit.amount for limit, _ in admission.drain_adopted()] == [2_000]
    for _ in range(20):
        reply(9_000, 90.0, 0.6)
    assert [limit.amount for limit, _ in admission.drain_adopted()] == [9_000]


def claims(headers: dict[str, str]) -> tuple[LimitHint, ...]:
    return read_error(429, headers, now_wall=NOW).limits


CLAIM = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "55s",
    "x-ratelimit-limit-tokens": "1000",
    "x-ratelimit-remaining-tokens": "0",
    "x-ratelimit-reset-tokens": "55s",
}


@pytest.mark.parametrize("own", [True, False])
def test_answers_overrule_a_claim_within_a_second(own: bool) -> None:
    """At 227 accepted calls a second a lone refusal says: 60 a minute, and nothing is left."""
    admission = Admission(own_address=own)
    sends = [(i / 227, admission.take(i / 227, ONE)) for i in range(1_500)]
    refused = 1_135  # sent at 5.0 s; answers take 1 s
    for at, _ in sends[:908]:
        admission.on_accepted(at + 1.0, at)
    at, admitted = sends[refused]
    for hint in claims(CLAIM):
        admission.observe(hint, at + 0.05, at, admitted)
    admission.on_refused(at + 0.05, at)
    assert [limit.per for limit in admission.limits if limit.dimension == "requests"] == []
    assert admission.next_time(at + 0.1, CallCost(1, 20, 20)) > at + 0.5
    for at, _ in sends[908:1_200]:
        admission.on_accepted(at + 1.0, at)
    requests = CallCost()
    assert admission.next_time(6.5, requests) == 6.5


def test_a_claim_that_no_history_contradicts_is_tried_by_one_call() -> None:
    """After a short hold; accepted, the claim has no force any more."""
    admission = Admission()
    first = admission.take(0.0, ONE)
    for hint in claims(CLAIM):
        admission.observe(hint, 0.1, 0.0, first)
    admission.on_refused(0.1, 0.0)
    assert admission.next_time(0.1, ONE) == pytest.approx(1.1)
    admission.take(1.1, ONE)
    assert admission.next_time(1.1, ONE) > 50
    admission.on_accepted(1.2, 1.1)
    assert admission.next_time(1.2, ONE) == 1.2


def test_a_claim_that_was_tried_and_refused_is_soon_obeyed() -> None:
    """Each try waits twice as long; when the end proves to be the same instant, none is made."""
    admission, tries, now = Admission(), [], 0.0
    while now < 55.0:
        now = admission.next_time(now, ONE)
        admitted = admission.take(now, ONE)
        tries.append(now)
        reset = f"{55.0 - now:.3f}s"
        claim = {**CLAIM, "x-ratelimit-reset-requests": reset}
        if now < 55.0:
            for hint in claims(claim):
                admission.observe(hint, now + 0.1, now, admitted)
            admission.on_refused(now + 0.1, now)
    assert tries == [0.0, *(pytest.approx(at, abs=0.5) for at in (1.1, 3.2, 7.3, 15.4, 55.0))]


def test_a_declared_limit_is_never_overruled() -> None:
    """Neither by what is reported nor by what is accepted."""
    admission = Admission([Limit("requests", 60)])
    for i in range(500):
        admission.on_accepted(i / 100, i / 100)
    assert admission.limits == (Limit("requests", 60),)
    for hint in claims(CLAIM):
        admission.observe(hint, 5.0, 5.0, admission.unbooked)
    assert [one for one in admission.limits if one.dimension == "requests"] == [
        Limit("requests", 60)
    ]


def test_a_stated_limit_goes_when_more_was_accepted_than_it_allows() -> None:
    """Words may be wrong, too: 100 a second were accepted for ten seconds."""
    admission = Admission()
    words = "on requests per min (RPM): Limit 60, Used 60, Requested 1."
    (hint,) = read_error(429, {}, {"error": {"message": words}}).limits
    assert admission.observe(hint, 0.0, 0.0, admission.unbooked)
    for i in range(1_000):
        admission.on_accepted(i / 100, i / 100)
    assert not admission.observe(hint, 10.0, 10.0, admission.unbooked)
    assert admission.limits == ()


def test_a_limit_of_a_day_is_a_stock_and_no_pace() -> None:
    """Stated by the name; a thousand calls may go at once while they are there."""
    admission = Admission()
    admission.observe(
        LimitHint(dimension="requests", amount=1000, per=86_400.0), 0.0, 0.0, admission.unbooked
    )
    for _ in range(1000):
        assert admission.next_time(1.0, ONE) == 1.0
        admission.take(1.0, ONE)
    assert admission.spent_until(1.0, ONE) > 80_000
    assert not admission.limits_requests  # how many may go in a minute is still open


class TestParallelCaps:
    HINT = LimitHint(dimension="concurrency", amount=4, remaining=0)

    def test_a_reported_cap_is_known_and_is_no_limit_of_pace(self) -> None:
        """It stands beside the limits, for whoever caps the calls in flight."""
        admission = Admission()
        assert admission.parallel_cap is None
        admission.observe(self.HINT, 0.1, 0.0, admission.unbooked)
        assert admission.parallel_cap == 4
        assert admission.drain_adopted() == [(4, "words of a refusal")]
        assert admission.drain_adopted() == []
        assert admission.empty
        assert not admission.limits_requests

    def test_a_cap_below_what_was_accepted_at_once_is_not_believed(self) -> None:
        """Fifty calls in flight were all accepted."""
        admission = Admission()
        for i in range(50):
            admission.on_accepted(1.0 + i / 100, i / 100)
        admission.observe(self.HINT, 1.6, 1.5, admission.unbooked)
        assert admission.parallel_cap is None

    @pytest.mark.parametrize("amount", [None, 0, -3])
    def test_a_cap_without_a_number_is_left_to_be_found(self, amount: int | None) -> None:
        """Nothing is adopted that nobody said."""
        admission = Admission()
        hint = LimitHint(dimension="concurrency", amount=amount, remaining=0)
        admission.observe(hint, 0.1, 0.0, admission.unbooked)
        assert admission.parallel_cap is None


def test_a_limit_that_changes_is_followed_after_three_replies() -> None:
    """One reply that names another limit is an accident."""
    admission = confirmed_bucket(own_address=False)
    for count, sent_at in enumerate((0.1, 0.2, 0.3, 0.4), start=1):
        admitted = admission.take(sent_at, ONE)
        hint = LimitHint(dimension="requests", amount=60, remaining=0, reset=55 + sent_at,
                         name="requests")  # fmt: skip
        admission.observe(hint, sent_at + 0.01, sent_at, admitted)
        held = admission.next_time(sent_at + 0.02, ONE) > sent_at + 0.5
        assert held is (count >= 3)


HINTS = st.builds(
    LimitHint,
    dimension=st.just("requests"),
    amount=st.none() | st.integers(-1, 10**15),
    per=st.none() | st.floats(),
    remaining=st.none() | st.integers(-1, 10**15),
    reset=st.none() | st.floats(),
    name=st.sampled_from(["requests", "anthropic requests", ""]),
    resolution=st.sampled_from([0.001, 1.0]),
    margin=st.sampled_from([0, 1000]),
    assumed=st.booleans(),
)
STEPS = st.lists(
    st.tuples(
        st.floats(0, 100),
        st.sampled_from(["take", "observe", "accept", "refuse", "release", "ask"]),
        HINTS,
        st.integers(0, 5),
    ),
    max_size=30,
)


@given(STEPS, st.booleans())
def test_whatever_comes_the_next_time_is_finite_and_not_in_the_past(
    steps: list[tuple[float, str, LimitHint, int]], own: bool
) -> None:
    """No sequence of claims raises, or closes a scope for ever."""
    admission, now = Admission(own_address=own), 0.0
    calls = [(0.0, admission.take(0.0, ONE))]
    for wait, what, hint, which in steps:
        now += wait
        sent_at, admitted = calls[-1 - which % len(calls)]
        if what == "take":
            calls.append((now, admission.take(now, ONE)))
        elif what == "observe":
            admission.observe(hint, now, sent_at, admitted)
        elif what == "accept":
            admission.on_accepted(now, sent_at)
        elif what == "refuse":
            admission.on_refused(now, sent_at)
        elif what == "release" and len(calls) > 1:
            admission.release(calls.pop()[1])
        at = admission.next_time(now, ONE)
        assert isfinite(at)
        assert at >= now
        assert admission.next_time(at, ONE) == pytest.approx(at, rel=1e-9, abs=1e-3), "as promised"
        assert admission.used(now) is not None


@pytest.mark.parametrize("released", [False, True])
def test_calls_that_no_reply_ends_are_not_missing_from_a_bucket_for_ever(released: bool) -> None:
    """A server that is gone answers none, and a permit may be given back; the bucket refills."""
    admission, now = confirmed_bucket(own_address=False), 0.03
    for _ in range(5_000 if released else 0):
        admission.release(admission.take(now, ONE))
    for _ in range(1_500):
        at = admission.next_time(now, ONE)
        assert admission.next_time(at, ONE) == pytest.approx(at), "as promised"
        admission.take(at, ONE)
        now = at
    assert now == pytest.approx((1_500 - 420) / 60, abs=0.5)
    later = now + 60.0
    for _ in range(600):
        assert admission.next_time(later, ONE) == later
        admission.take(later, ONE)
    assert admission.next_time(later, ONE) > later, "it holds no more than its amount"


def test_a_call_that_never_left_leaves_a_window_as_it_was() -> None:
    """Neither its place in the window is taken, nor the distance that calls of one keep."""
    times = []
    for released in (0, 20):
        admission = Admission()
        for number in range(120):
            now = number / 10
            admitted = admission.take(now, ONE)
            hint = LimitHint(dimension="requests", amount=100, remaining=99 - number % 50,
                             reset=5.0 - now % 5.0)  # fmt: skip
            admission.observe(hint, now, now, admitted)
            for _ in range(released):
                admission.release(admission.take(now, ONE))
        times.append([now := admission.next_time(now, ONE)])
        for _ in range(60):
            admission.take(now, ONE)
            times[-1].append(now := admission.next_time(now, ONE))
    assert times[0] == pytest.approx(times[1])


def room_of(admission: Admission, now: float) -> int:
    """Calls that may be sent at once."""
    sent = 0
    while admission.next_time(now, ONE) <= now:
        admission.take(now, ONE)
        sent += 1
    return sent


@given(
    calls=st.lists(st.sampled_from(["gone before", "gone after", "sent"]),
                   min_size=1, max_size=60),
    untimed=st.booleans(),
    data=st.data(),
)  # fmt: skip
def test_calls_that_never_left_make_no_room_beside_those_that_were_answered(
    calls: list[str], untimed: bool, data: st.DataObject
) -> None:
    """Whenever they are given back: before or after the reply that says how much is left."""
    admission = Admission() if untimed else confirmed_bucket(own_address=False)
    admitted = [admission.take(0.03, ONE) for _ in calls]
    answered = data.draw(st.integers(0, len(calls) - 1))
    calls[answered] = "sent"
    for each, fate in zip(admitted, calls, strict=True):
        if fate == "gone before":
            admission.release(each)
    hint = LimitHint(dimension="requests", amount=600, remaining=300, name="requests",
                     reset=None if untimed else 5.0, source="headers")  # fmt: skip
    admission.observe(hint, 0.035, 0.03, admitted[answered])
    for each, fate in zip(admitted, calls, strict=True):
        if fate == "gone after":
            admission.release(each)
    behind = calls[answered + 1 :].count("sent")
    assert room_of(admission, 0.035) == 300 - behind


@given(
    remaining=st.integers(0, 50),
    resets=st.lists(st.floats(0.5, 100), min_size=1, max_size=5),
)
def test_no_more_is_sent_than_remains_before_the_earliest_reset(
    remaining: int, resets: list[float]
) -> None:
    """Apart from the one call that tries a claim."""
    admission = Admission()
    first = admission.take(0.0, ONE)
    hint = LimitHint(dimension="requests", amount=100, remaining=remaining, reset=resets[0])
    admission.observe(hint, 0.0, 0.0, first)
    sent, now = 0, 0.0
    while now < resets[0]:
        at = admission.next_time(now, ONE)
        if at > now:
            now = at
        elif now < resets[0]:
            admission.take(now, ONE)
            sent += 1
    assert sent <= remaining + 1


def test_asking_twice_gives_the_same_answer() -> None:
    """Asking takes nothing, also where a window rolls on."""
    admission = Admission()
    first = admission.take(0.0, ONE)
    admission.observe(
        LimitHint(dimension="requests", amount=2, remaining=0, reset=3.0), 0.0, 0.0, first
    )
    assert admission.next_time(4.0, ONE) == admission.next_time(4.0, ONE) == 4.0
    assert admission.next_time(4.0, CallCost(0)) == 4.0
    assert admission.next_time(4.0, CallCost(1)) < inf
