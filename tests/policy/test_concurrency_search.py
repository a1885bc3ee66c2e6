"""The right number of calls in flight is found for servers that queue."""

from __future__ import annotations

import heapq
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.policy import ConcurrencySearch


def throughput(slots: int, seed: int, seconds: float = 300.0) -> tuple[float, int]:
    """Serve calls in *slots* places; returns the share of the places used and the limit."""
    rng, search = Random(seed), ConcurrencySearch()
    now, done, queue = 0.0, 0, list[float]()
    serving: list[tuple[float, float]] = []
    while now < seconds:
        while len(queue) + len(serving) < search.limit:
            queue.append(now)
        while queue and len(serving) < slots:
            serving.append((now + rng.uniform(0.5, 1.5), queue.pop(0)))
        serving.sort()
        now, sent_at = serving.pop(0)
        done += 1
        search.on_ok(now, sent_at, len(queue) + len(serving) + 1)
    return done / (slots * seconds), search.limit


@pytest.mark.parametrize("slots", [4, 16, 64])
def test_a_server_that_queues_is_kept_full_and_not_flooded(slots: int) -> None:
    """The limit ends above the server's places and within a few times as many."""
    used, limit = throughput(slots, seed=1)
    assert used > 0.85
    assert slots <= limit <= 8 * slots


def batching(calls: int, worth: float, items: int, seed: int) -> tuple[float, int]:
    """Serve *items* in steps of 1 + n / *worth*; returns the seconds and the last limit.

    *calls* is the cap beside the search. Answers take 64 steps in the mean, as spread as tokens.
    """
    rng, search = Random(seed), ConcurrencySearch()
    left: dict[int, int] = {}
    sent: dict[int, float] = {}
    now, begun, done = 0.0, 0, 0
    while done < items:
        while len(left) < min(calls, search.limit) and begun < items:
            left[begun], sent[begun] = 1 + int(rng.expovariate(1 / 64)), now
            begun += 1
        now += 0.02 * (1 + len(left) / worth)
        for item in [item for item, steps in left.items() if steps <= 1]:
            search.on_ok(now, sent[item], len(left))
            del left[item]
            done += 1
        for item in left:
            left[item] -= 1
    return now, search.limit


@pytest.mark.parametrize("seed", range(4))
def test_a_server_that_works_on_a_batch_at_once_is_given_one(seed: int) -> None:
    """Each call takes longer the more there are, and all of them are done the sooner.

    With 256 calls from the first moment it is 26 s; with latency alone as the guide it was 118.
    """
    seconds, limit = batching(256, 256.0, 2_000, seed)
    assert seconds < 70
    assert limit > 100


def test_it_rises_by_doubling_while_that_pays_and_goes_back_when_it_does_not() -> None:
    """A fifth more answers a second is enough; a doubling that fails is looked at twice."""
    search = ConcurrencySearch(start=64)
    answers(search, 64, 1.0, 64)
    assert search.limit == 128
    answers(search, 128 + 1, 1.5, 128)  # the first was sent while the server worked on fewer
    assert search.limit == 256
    answers(search, 256 + 1, 2.9, 256)
    assert search.limit == 256
    answers(search, 256 + 1, 2.9, 256)
    assert search.limit == 128
    answers(search, 128, 1.5, 128)
    assert 128 < search.limit < 140, "from here on latency is the guide"


def test_a_refusal_ends_the_rise() -> None:
    """A server that refuses has said how many are too many."""
    search = ConcurrencySearch(start=64)
    answers(search, 64, 1.0, 64)
    search.on_refused(100.0, 99.0)
    assert search.limit == 102
    answers(search, 102, 1.0, 102)
    assert search.limit < 110


def test_too_few_callers_show_nothing() -> None:
    """A limit that is not reached does not rise."""
    search = ConcurrencySearch(start=64)
    answers(search, 640, 1.0, 3)
    assert search.limit == 64


def test_a_server_that_becomes_slow_gets_fewer_calls_though_the_rise_is_not_over() -> None:
    """Too few callers for a doubling must not hold back the watch on latency."""
    search = ConcurrencySearch(start=64)
    now = 0.0
    for seconds, count in ((1.0, 640), (12.0, 2_000)):
        for _ in range(count):
            now += seconds / 50
            search.on_ok(now, now - seconds, 50)
    assert search.limit < 50


@pytest.mark.parametrize("callers", [52, 56, 60])
def test_a_doubling_that_is_not_used_whole_counts_by_the_calls_in_flight(callers: int) -> None:
    """With 32 places for as many callers a limit of 64 brings nothing that 32 did not."""
    search, now = ConcurrencySearch(), 0.0
    free, under_way = [0.0] * 32, list[tuple[float, float]]()
    for _ in range(8_000):
        while len(under_way) < min(callers, search.limit):
            ends = max(heapq.heappop(free), now) + 1.0
            heapq.heappush(free, ends)
            heapq.heappush(under_way, (ends, now))
        ended, sent_at = heapq.heappop(under_way)
        now = max(now, ended)
        search.on_ok(now, sent_at, len(under_way) + 1)
    assert search.limit < 2 * callers


def test_a_cap_on_concurrency_cuts_once_per_round_and_an_idle_client_does_not_grow() -> None:
    """Refusals of calls from before the cut belong to that cut."""
    search = ConcurrencySearch(start=100)
    for _ in range(50):
        search.on_refused(10.0, 9.0)
    assert search.limit == 80
    search.on_ok(11.0, 9.0, 80)
    for _ in range(1000):
        search.on_ok(12.0, 11.0, 3)
    assert search.limit == 80


def answers(search: ConcurrencySearch, count: int, seconds: float, in_flight: int) -> None:
    """Give it answers to calls that took so long, one after the other."""
    now = max(0.0, search._round_from)
    for _ in range(count):
        now += seconds
        search.on_ok(now, now - seconds, in_flight)


def test_it_goes_a_third_of_the_way_to_a_target_that_is_a_root_higher() -> None:
    """Sixteen calls whose latency is steady aim at twenty: 17.2 after one round."""
    search = ConcurrencySearch(start=16, rising=False)
    answers(search, 16, 1.0, 16)
    assert search._limit == pytest.approx(16 + 0.3 * 4)


def test_a_round_has_ten_answers_however_few_calls_there_are() -> None:
    """A mean of fewer says little."""
    search = ConcurrencySearch(start=4, rising=False)
    answers(search, 9, 1.0, 4)
    assert search._limit == 4
    answers(search, 1, 1.0, 4)
    assert search._limit > 4


@pytest.mark.parametrize(("latency", "moves"), [(1.5, 1), (2.0, 0), (3.0, -1)])
def test_latency_half_as_long_again_as_the_best_is_what_it_aims_at(
    latency: float, moves: int
) -> None:
    """Beyond, each further call only waits in the server's queue."""
    search = ConcurrencySearch(start=16, rising=False)
    answers(search, 16, 1.0, 1)  # an idle client learns the best latency and does not grow
    assert search._limit == 16
    answers(search, 16, latency, 16)
    gradient = min(1.0, 1.5 * 1.01 / latency)
    assert search._limit == pytest.approx(16 + 0.3 * (16 * gradient + 4 - 16))
    assert round((search._limit - 16) / 1.5) == moves


@given(st.integers(1, 5), st.integers(0, 100))
def test_the_limit_is_never_below_one_nor_above_the_longest(start: int, refusals: int) -> None:
    """However often it is cut, one call may go."""
    search = ConcurrencySearch(start=start, longest=5)
    for at in range(refusals):
        search.on_refused(float(at), float(at))
    for at in range(300):
        search.on_ok(1000.0 + at, 1000.0 + at, 5)
    assert 1 <= search.limit <= 5
