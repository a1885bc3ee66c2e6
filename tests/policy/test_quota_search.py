"""An unknown quota is found, kept to, and found again when it changes."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchllm.policy.concurrency_search import ConcurrencySearch
from batchllm.policy.quota_search import Learned, QuotaSearch
from batchllm.policy.ramp import Ramp


def paced(search: QuotaSearch, begin: float, seconds: float) -> float:
    """Send at every instant that the search allows; returns where that ended."""
    now, left = begin, 4000
    while now < begin + seconds and (left := left - 1):
        now = max(now, search.next_time(now))
        search.on_send(now)
        if search.pace is None:
            now += 0.01
    return now


def episode(search: QuotaSearch, at: float, recovery: float) -> None:
    """The quota runs out at *at*, for two calls, and the canary at *recovery* is accepted."""
    mark = search.on_send(at)
    search.on_refused(at, mark)
    search.on_refused(at, search.on_send(at))
    search.on_episode(at, mark)
    canary = search.on_send(recovery)
    search.on_canary(recovery)
    search.on_resume(recovery + 0.1, recovery, canary)


def found() -> QuotaSearch:
    """A search that has found a pace and proven it."""
    search = QuotaSearch()
    now = paced(search, 0.0, 10.0)
    episode(search, now, now + 60.0)
    paced(search, now + 61.0, 120.0)
    return search


def test_nothing_is_paced_before_the_first_refusal() -> None:
    """An unlimited server is never slowed."""
    search = QuotaSearch()
    paced(search, 0.0, 5.0)
    assert search.pace is None
    assert search.next_time(7.0) == 7.0
    assert search.learned(7.0) is None


def test_the_first_pace_is_what_was_accepted_until_the_server_recovered() -> None:
    """A burst of 1,000 in 10 s that is taken again after 70 s means some 14 a second."""
    search = QuotaSearch()
    now = paced(search, 0.0, 10.0)
    episode(search, now, 70.0)
    assert search.pace is not None
    assert search.pace == pytest.approx(1000 / 70, rel=0.01)
    assert search.lo <= search.pace <= search.hi


def test_a_single_first_refusal_is_noise_and_the_next_is_not() -> None:
    """It puts no pace on a scope of which hardly anything is known; a second one soon does."""
    search = QuotaSearch()
    now = paced(search, 0.0, 10.0)
    for begin, pause in ((now, 7.0), (now + 20.0, 7.0)):
        assert search.pace is None
        mark = search.on_send(begin)
        search.on_refused(begin, mark)
        search.on_episode(begin, mark)
        search.on_resume(begin + pause + 0.1, begin + pause, search.on_send(begin + pause))
    assert search.pace is not None


def test_two_starts_never_stand_side_by_side_after_an_episode() -> None:
    """The line moves on at its pace, a full distance after the canary has been waited for."""
    search = QuotaSearch()
    now = paced(search, 0.0, 10.0)
    episode(search, now, 70.0)
    assert search.pace is not None
    assert search.next_time(70.1) >= 70.1 + 1 / search.pace - 1e-9


def test_growth_needs_a_trial_that_used_the_pace() -> None:
    """A clean minute in which hardly anything was sent proves nothing."""
    search = QuotaSearch()
    now = paced(search, 0.0, 10.0)
    episode(search, now, now + 60.0)
    pace = search.pace
    for at in range(200):
        search.on_send(now + 100.0 + 5 * at)
    assert search.pace == pace
    used = found()
    assert used.pace is not None
    assert pace is not None
    assert used.pace > pace


def test_an_isolated_refusal_on_a_proven_pace_is_noise() -> None:
    """One refusal among many accepted calls cuts nothing; two close together do."""
    search = found()
    now = search.next_time(500.0)
    assert search.isolated(now)
    search.on_refused(now, search.on_send(now))
    assert not search.isolated(now + 0.5)
    assert not QuotaSearch().isolated(0.0)


def test_what_was_learned_is_handed_on_as_ages() -> None:
    """The next run starts at nine tenths of what was proven."""
    search = found()
    learned = search.learned(1000.0)
    assert learned is not None
    assert learned.age > 0
    again = QuotaSearch(learned=learned)
    assert again.pace == pytest.approx(0.9 * learned.lo)
    assert again.lo <= again.hi
    episode_soon = paced(again, 5.0, 20.0)
    episode(again, episode_soon, episode_soon + 1)
    assert again.lo <= again.hi


def test_a_quota_that_fell_is_followed_down() -> None:
    """Refusals again and again below what was proven end in a pace below it."""
    search = found()
    before = search.lo
    now = 400.0
    for _ in range(12):
        now = paced(search, now, 5.0)
        episode(search, now, now + 2.0)
        now += 3.0
    assert search.pace is not None
    assert search.pace < 0.9 * before


def test_a_quota_that_rose_is_found_by_probes_that_double() -> None:
    """Without refusals, an hour is enough to find a quota many times as large."""
    search = found()
    before = search.lo
    now = 400.0
    for _ in range(20):
        now = paced(search, now, 80.0)
    assert search.lo > 2 * before


def test_a_call_that_never_left_is_forgotten() -> None:
    """A released start counts neither as sent nor as accepted."""
    search = QuotaSearch()
    mark = search.on_send(0.0)
    search.on_release(mark, 1)
    assert search.on_send(1.0) == mark


def test_resuming_without_an_episode_changes_nothing() -> None:
    """A pause for another cause teaches nothing about the quota."""
    search = QuotaSearch()
    search.on_send(0.0)
    search.on_resume(1.0, 1.0, 0)
    search.on_canary(1.0)
    assert search.pace is None


class SearchMachine(RuleBasedStateMachine):
    """Paced stretches and episodes in any order keep the bracket in order."""

    def __init__(self) -> None:
        super().__init__()
        self.search = QuotaSearch()
        self.now = 0.0

    @rule(seconds=st.integers(1, 100))
    def send(self, seconds: int) -> None:
        before = self.search.pace
        self.now = paced(self.search, self.now, seconds)
        assert before is None or (self.search.pace or 0) >= before * 0.999 or self.search.lo > 0

    @rule(seconds=st.integers(1, 1000))
    def idle(self, seconds: int) -> None:
        self.now += seconds

    @rule(pause=st.integers(1, 60))
    def run_out(self, pause: int) -> None:
        before = self.search.pace
        episode(self.search, self.now, self.now + pause)
        self.now += pause + 1
        assert self.search.pace is not None
        assert before is None or self.search.pace <= before * (1 + 1e-9)

    @invariant()
    def the_bracket_is_in_order(self) -> None:
        search = self.search
        assert 0 <= search.lo <= search.hi * (1 + 1e-9)
        if search.pace is not None:
            assert 0 < search.pace <= max(search.hi, 1.5 * search.lo) * (1 + 1e-9)
            assert search.pace < inf
            assert search.next_time(self.now) <= self.now + 3 / search.pace


TestBracket = SearchMachine.TestCase
TestBracket.settings = settings(max_examples=20, stateful_step_count=10)


def test_the_ramp_doubles_per_round_and_no_faster_than_its_rounds() -> None:
    """However many answers come, a round lasts a quarter of a second."""
    ramp = Ramp(4)
    for _ in range(1000):
        assert ramp.on_ok(0.0, inf, 0.02)
    assert ramp.window == 8
    ramp.on_ok(0.24, inf, 0.02)
    assert ramp.window == 8
    for _ in range(1000):
        ramp.on_ok(0.26, inf, 0.02)
    assert ramp.window == 16


def test_the_ramp_is_quick_where_answers_take_no_time() -> None:
    """A local function is no provider: it is soon called as often as the cap allows."""
    ramp = Ramp(4)
    for _ in range(1000):
        ramp.on_ok(0.0, inf, 0.0001)
    for _ in range(1000):
        ramp.on_ok(0.006, inf, 0.0001)
    assert ramp.window == 16


def test_the_ramp_opens_on_time_alone_while_answers_take_long() -> None:
    """Without an answer or a refusal the window doubles in 16 seconds, place by place."""
    ramp = Ramp(4)
    now, in_flight, starts = 0.0, 0, list[float]()
    while in_flight < 16:
        while (at := ramp.next_time(now, in_flight)) > now:
            now = at
        starts.append(now)
        in_flight += 1
    assert starts == [0, 0, 0, 0, 4, 8, 12, 16, 18, 20, 22, 24, 26, 28, 30, 32]


def test_the_ramp_ends_at_the_cap() -> None:
    """Beyond the cap on calls it has nothing left to do."""
    ramp = Ramp(4)
    assert [ramp.on_ok(0.0, 6, 1.0) for _ in range(2)] == [True, False]


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


@given(st.integers(1, 5), st.integers(0, 100))
def test_the_limit_is_never_below_one_nor_above_the_longest(start: int, refusals: int) -> None:
    """However often it is cut, one call may go."""
    search = ConcurrencySearch(start=start, longest=5)
    for at in range(refusals):
        search.on_refused(float(at), float(at))
    for at in range(300):
        search.on_ok(1000.0 + at, 1000.0 + at, 5)
    assert 1 <= search.limit <= 5


def test_a_learned_record_of_nothing_starts_no_pace() -> None:
    """A record without a proven pace is no record."""
    assert QuotaSearch(learned=Learned(lo=0.0, hi=inf)).pace is None
