"""Answers that become slow and a machine that sleeps are no refusals and end in no burst."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random

from batchllm.core import CallCost, Outcome
from batchllm.policy import Limit, RateLimiter
from batchllm.policy.events import Send

ONE = CallCost()


def test_slow_answers_fill_the_calls_in_flight_and_no_more() -> None:
    """Twenty times as slow for five minutes: the cap is used, and the pace is back at once."""
    limiter = RateLimiter(rng=Random(1), calls=100)
    flying: list[tuple[float, int, Send]] = []
    ended: list[float] = []
    now, most, number = 0.0, 0, 0
    while now < 600.0:
        while limiter.next_time(now, ONE) <= now:
            number += 1
            seconds = 10.0 if 120.0 <= now < 420.0 else 0.5
            heappush(flying, (now + seconds, number, limiter.on_send(now, ONE)))
        most = max(most, limiter.in_flight)
        at = limiter.next_time(now, ONE)
        if flying and flying[0][0] <= at:
            now, _, send = heappop(flying)
            limiter.on_result(now, send, Outcome.OK)
            ended.append(now)
        else:
            now = at
    assert most == 100
    assert sum(150.0 <= at < 400.0 for at in ended) >= 0.95 * 250 * 100 / 10
    assert sum(440.0 <= at < 590.0 for at in ended) >= 0.95 * 150 * 100 / 0.5
    assert (limiter.snapshot(now).throttled, limiter.cooling) == (0, False)


def test_a_machine_that_slept_sends_no_burst() -> None:
    """Ten minutes without a turn: a declared limit of a minute holds afterwards."""
    limiter = RateLimiter(rng=Random(1), limits=[Limit("requests", 60)])
    times: list[float] = []
    now = 0.0
    while now < 900.0:
        if 100.0 <= now < 700.0:
            now = 700.0  # asleep
        at = limiter.next_time(now, ONE)
        if at > now:
            now = at
            continue
        times.append(now)
        limiter.on_result(now, limiter.on_send(now, ONE), Outcome.OK)
    assert all(
        later - first >= 60.0 - 1e-6 for first, later in zip(times, times[60:], strict=False)
    )
    assert len([at for at in times if at >= 700.0]) >= 190
