"""The rate of an unknown quota is measured by what is refused, and probed by a curve."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchllm.policy.learned import Learned
from batchllm.policy.quota_search import Episode, QuotaSearch
from batchllm.policy.send_log import Point, SendLog
from tests.examples import examples


class Driver:
    """A search with a clock: it sends when allowed, and has episodes."""

    def __init__(self, learned: Learned | None = None) -> None:
        self.search = QuotaSearch(SendLog(), learned)
        self.now = 0.0

    def send(self) -> Point:
        mark = self.search.log.on_send(self.now)
        self.search.on_send(self.now)
        return Point(self.now, mark)

    def paced(self, calls: int, unpaced: float = 0.01) -> None:
        """Send *calls* at every instant that is allowed, *unpaced* seconds apart at least."""
        for _ in range(calls):
            self.now = max(self.now, self.search.next_time(self.now))
            self.send()
            if self.search.pace is None:
                self.now += unpaced

    def refuse(self, seconds: float = 0.0) -> Episode:
        """A call leaks; or, with *seconds*, two are refused and the quota is back after them."""
        self.now = max(self.now, self.search.next_time(self.now))
        begun = empty = self.send()
        self.search.log.on_lost(begun.mark)
        if seconds:
            empty = self.send()
            self.search.log.on_lost(empty.mark)
            self.now += seconds
            back = Point(self.now, self.search.log.on_send(self.now))
        else:
            back = self.search.log.now(self.now)
        return Episode(begun=begun, empty=empty, back=back, leak=not seconds)

    def learn(self, seconds: float = 0.0) -> None:
        self.search.learn(self.refuse(seconds), self.now)


def paced_at(rate: float = 10.0) -> Driver:
    """A search that has just been cut at *rate*, measured from 40 s and 400 accepted calls."""
    driver = Driver()
    for number in range(round(40 * rate)):
        driver.now = number / rate
        driver.send()
    driver.now = 40.0
    driver.learn()
    assert driver.search.rate == pytest.approx(rate, rel=0.01)
    return driver


def test_a_start_that_never_left_leaves_its_place_to_the_next() -> None:
    """As calls do that waited without an estimate, once limits on tokens are reported."""
    driver = paced_at()
    driver.now = max(driver.now, driver.search.next_time(driver.now))
    for _ in range(20):
        assert driver.search.next_time(driver.now) < driver.now + 0.01
        driver.send()
        driver.search.on_unsent()


def test_nothing_is_paced_before_the_first_refusal() -> None:
    """An unlimited server is never slowed."""
    driver = Driver()
    driver.paced(500)
    search = driver.search
    assert (search.pace, search.rate, search.next_time(7.0)) == (None, None, 7.0)
    assert search.learned(7.0) is None


def test_the_first_rate_is_what_was_accepted_until_the_server_recovered() -> None:
    """A burst of 1,000 in 10 s that is taken again after 70 s means some 14 a second."""
    driver = Driver()
    driver.paced(1000)
    driver.learn(60.0)
    assert driver.search.rate == pytest.approx(1000 / 70, rel=0.01)


def test_the_first_rate_looks_back_a_minute_and_ends_at_the_last_refused_canary() -> None:
    """Calls sent longer ago say nothing of the minute in which the quota ran out."""
    driver = Driver()
    for number in range(200):
        driver.now = float(number)
        driver.send()
    begun = Point(200.0, driver.search.log.on_send(200.0))
    driver.search.log.on_lost(begun.mark)
    canary = Point(210.0, driver.search.log.on_send(210.0))
    driver.search.log.on_lost(canary.mark)
    back = Point(230.0, driver.search.log.on_send(230.0))
    episode = Episode(begun=begun, empty=canary, back=back, leak=False, canaries=1)
    driver.search.learn(episode, 230.0)
    assert driver.search.rate == pytest.approx(60 / 70, rel=0.02)


def test_a_quota_that_was_spent_before_the_first_call_shows_nothing() -> None:
    """Nothing accepted is no rate, nor are two calls at first; the next episode measures."""
    for accepted, known in ((0, False), (2, False), (3, True)):
        driver = Driver()
        driver.paced(accepted)
        driver.learn(30.0)
        assert (driver.search.rate is not None) == known
        driver.paced(100)
        driver.now += 10.0
        driver.learn(40.0)
        assert driver.search.rate is not None
        # Two of the same kind are measured from the recovery on.
        assert known or driver.search.rate == pytest.approx(101 / 51, rel=0.05)


def test_the_curve_starts_two_percent_below_and_is_flat_near_the_rate() -> None:
    """CUBIC with a small dent: 0.98 at the cut, 1 at k, 1.02 at 2k, 1.16 at 3k, 1.54 at 4k."""
    search = paced_at(10.0).search
    at, paced = 0.0, 0.0
    k, shares = search._k_now, dict[int, float]()
    for _ in range(20_000):
        pace = search.pace
        assert pace is not None
        shares.setdefault(int(paced / k), pace / 10.0)
        at = max(at, search.next_time(at))
        search.on_send(at)
        paced += 1 / pace
    base = (search.rate or 0.0) / 10.0
    for number, share in enumerate((0.98, 1.0, 1.02, 1.16, 1.54)):
        assert shares[number] == pytest.approx(share * base, rel=0.005)


def test_early_is_before_k() -> None:
    """k is five seconds after a first measurement."""
    driver = paced_at(10.0)
    search = driver.search
    flags = []
    for _ in range(60):
        driver.paced(1)
        flags.append(search.early)
    assert flags[30]
    assert not flags[52]


def test_after_a_cut_two_slots_pass() -> None:
    """A bucket that stands at nothing gets a token of air, else the next call meets it empty."""
    driver = paced_at(10.0)
    rate = driver.search.rate
    assert rate is not None
    assert driver.search.next_time(driver.now) == pytest.approx(driver.now + 2 / rate)


def test_a_late_start_keeps_the_pace_but_makes_up_for_no_more_than_20_ms() -> None:
    """A loop that wakes late counts from the schedule; a pause saves nothing up."""
    driver = paced_at(10.0)
    search = driver.search
    pace = search.pace or 0.0
    at = search.next_time(driver.now)
    search.on_send(at + 0.015)
    assert search.next_time(at) == pytest.approx(at + 1 / pace)
    later = at + 5.0
    search.on_send(later)
    assert search.next_time(later) == pytest.approx(later - 0.02 + 1 / pace, rel=1e-4)


def test_time_counts_only_while_calls_are_sent() -> None:
    """Growth needs a pace that was used: an hour without items leaves it where it was."""
    driver = paced_at(10.0)
    driver.paced(20)
    pace = driver.search.pace
    driver.now += 3600.0
    assert driver.search.pace == pace


def test_a_leak_lowers_the_pace_by_15_percent_at_most_once_a_rate_is_known_well() -> None:
    """A chance second refusal must not halve it; before, a first estimate may fall by half."""
    driver = paced_at(10.0)
    driver.learn()
    assert driver.search.rate is not None
    assert 0.5 * 9.8 - 0.01 <= driver.search.rate < 8.0
    known = paced_at(10.0)
    known.paced(40)
    known.learn()
    assert known.search.sure
    for number in range(80):
        known.paced(1)
        if number % 2:
            known.search.log.on_lost(known.search.log.count - 1)
    pace = known.search.pace or 0.0
    known.learn()
    assert known.search.rate == pytest.approx(0.85 * pace, rel=0.01)
    assert not known.search.sure


def test_an_early_leak_goes_a_fifth_of_the_way_back_to_the_last_minute() -> None:
    """Few calls since the cut only repeat what a sliding window was sent a minute ago."""
    driver = Driver()
    for number in range(1000):
        driver.now = number / 10
        driver.send()
    driver.learn()
    driver.paced(40)
    driver.learn()
    for number in range(80):
        driver.paced(1)
        if number % 2:
            driver.search.log.on_lost(driver.search.log.count - 1)
    assert driver.search.early
    floor = 0.85 * (driver.search.pace or 0.0)
    episode = driver.refuse()
    minute = driver.search._meter.minute_before(episode)
    driver.search.learn(episode, driver.now)
    assert minute > floor
    assert driver.search.rate == pytest.approx(floor + 0.2 * (minute - floor), rel=1e-3)
    assert not driver.search.sure


@pytest.mark.parametrize(("lost", "share"), [(0, 1.0), (6, 5 / 6)])
def test_a_late_leak_shows_no_more_than_the_minute_before_it_gave(lost: int, share: float) -> None:
    """Few calls since the cut show nothing by themselves, so that the rate stays; but a bucket that
    gave less in a whole minute gives less, or each refusal takes off a hundredth for ever."""
    driver = paced_at(0.6)
    rate = driver.search.rate or 0.0
    while driver.search.early or driver.search.calls_since < 12:
        driver.paced(1)
    for mark in range(driver.search.log.count - 1, 0, -lost or -1000)[1:]:
        driver.search.log.on_lost(mark)
    driver.learn()
    assert driver.search.rate == pytest.approx(share * rate, rel=0.1)


def test_a_rate_that_is_confirmed_is_probed_ever_more_rarely() -> None:
    """k doubles up to two minutes: so many seconds pass until the pace is back at the rate."""
    driver = paced_at(10.0)
    ks = []
    for _ in range(8):
        while driver.search.early:
            driver.paced(1)
        driver.paced(5)
        driver.learn()
        ks.append(driver.search._k_now)
    # A refusal is counted as a hundred calls: at 10 a second that is ten seconds at least.
    assert ks == pytest.approx([10.1, 20, 40, 80, 120, 120, 120, 120], rel=0.01)


def test_a_slow_rate_is_probed_once_in_four_hundred_calls() -> None:
    """At 30 a minute two minutes are only sixty calls."""
    driver = paced_at(0.5)
    for _ in range(12):
        while driver.search.early:
            driver.paced(1)
        driver.paced(2)
        driver.learn()
    rate = driver.search.rate or 0.0
    assert driver.search._k_now == pytest.approx(400 / rate, rel=0.05)


def test_the_first_k_is_at_least_eight_calls_long() -> None:
    """At one call in four seconds."""
    assert paced_at(0.25).search._k_now == pytest.approx(8 / 0.25, rel=0.1)


def test_a_probe_that_costs_a_pause_loses_a_twenty_fourth_at_most() -> None:
    """k is twelve pauses once the rate is confirmed, and half a pause before."""
    driver = Driver()
    driver.paced(600)
    driver.learn(54.0)
    assert driver.search._k_now == pytest.approx(54.0 / 2, abs=0.1)
    for _ in range(4):
        while driver.search.early:
            driver.paced(1)
        driver.learn(20.0)
    assert driver.search.confirmed
    assert driver.search._k_now == pytest.approx(12 * 20.0, rel=0.01)


@pytest.mark.parametrize("idle", [0.5, 1.5, 600.0])
def test_an_idle_stretch_lowers_the_pace_no_more_than_a_leak(idle: float) -> None:
    """Calls that were not made show nothing of what would have been accepted."""
    driver = Driver(Learned(rate=10.0))
    driver.paced(10)
    driver.now = driver.search.next_time(driver.now) + idle
    driver.learn(30.0)
    assert (driver.search.rate or 0.0) >= 0.45 * 10.0


def test_an_early_refusal_of_a_window_keeps_nothing_of_the_rate() -> None:
    """A bucket whose hints always say a minute looks so; at 3 % too fast it is probed for ever."""
    driver = paced_at(10.0)
    for calls in (300, 300, 300, 900):
        driver.paced(calls)
        rate, early = driver.search.rate, driver.search.early
        driver.learn(60.0)
    assert early
    assert rate is not None
    assert driver.search.rate is not None
    assert 0.95 * rate < driver.search.rate < 0.97 * rate


def test_a_window_keeps_its_rate_when_its_pause_is_as_short_as_a_buckets() -> None:
    """Its refusals come later in each, so that from one to the next more than a window passes."""
    driver = paced_at(11.0)
    pauses = []
    for end in (100.0, 160.0, 220.0):
        driver.search._k_now = 120.0  # so that the pace stays near the rate
        driver.paced(598)  # and one call that is refused, and one that is taken at the end
        episode = evolve(driver.refuse(end - driver.now), hinted=True)
        driver.search.learn(episode, driver.now)
        pauses.append(episode.pause)
    assert pauses[0] > pauses[1] > 3.0 > pauses[2]
    assert driver.search.rate == pytest.approx(10.0, rel=0.01)


def test_what_was_learned_is_handed_on_as_an_age() -> None:
    """The next run starts at that rate, and probes it only after fifteen seconds."""
    driver = paced_at(10.0)
    learned = driver.search.learned(driver.now + 100.0)
    assert learned is not None
    assert learned.age == pytest.approx(100.0)
    again = QuotaSearch(SendLog(), learned)
    assert again.rate == learned.rate
    assert again.pace == pytest.approx(0.98 * learned.rate)
    assert again._k_now == 15.0
    assert again.learned(5.0) is None, "as yet nothing confirmed it"
    assert QuotaSearch(SendLog(), Learned(rate=0.0)).pace is None


def test_what_lowered_the_rate_is_taken_back_if_it_was_noise() -> None:
    """The rate of before counts as well measured."""
    driver = paced_at(10.0)
    driver.paced(50)
    driver.learn()
    driver.search.keep(10.0, driver.now)
    assert (driver.search.rate, driver.search.sure) == (10.0, True)
    assert driver.search.early


def test_a_pause_that_teaches_nothing_leaves_the_rate_alone() -> None:
    """An overload, or a limit that came with the refusal."""
    driver = paced_at(10.0)
    rate, episodes = driver.search.rate, driver.search.episodes
    driver.search.skip(driver.refuse(5.0))
    assert (driver.search.rate, driver.search.episodes) == (rate, episodes + 1)


def test_the_slowest_pace_is_a_call_in_twenty_seconds() -> None:
    """Below that nothing is learned within the patience of a user."""
    driver = Driver()
    driver.paced(5)
    driver.learn(200.0)
    assert driver.search.rate == driver.search.pace == pytest.approx(1 / 20)
    assert driver.search.next_time(driver.now) == pytest.approx(driver.now + 20.0)


class SearchMachine(RuleBasedStateMachine):
    """Paced stretches, idle ones, leaks and pauses in any order keep the pace in bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()

    @rule(calls=st.integers(1, 200))
    def send(self, calls: int) -> None:
        before = self.driver.search.pace
        self.driver.paced(calls)
        assert before is None or (self.driver.search.pace or 0.0) >= before * (1 - 1e-9)

    @rule(seconds=st.integers(1, 1000))
    def idle(self, seconds: int) -> None:
        self.driver.now += seconds

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.5, 5.0, 60.0]))
    def run_out(self, seconds: float) -> None:
        episode = self.driver.refuse(seconds)
        before = self.driver.search.pace
        self.driver.search.learn(episode, self.driver.now)
        after = self.driver.search.pace
        assert before is None or (after is not None and after <= before * (1 + 1e-9))

    @invariant()
    def the_next_start_is_near(self) -> None:
        search = self.driver.search
        if search.pace is not None:
            assert search.pace >= 1 / 20
            assert search.next_time(self.driver.now) <= self.driver.now + 20.0 + 1e-6


TestSearchLaws = SearchMachine.TestCase
TestSearchLaws.settings = settings(max_examples=examples(40), stateful_step_count=15)


@given(st.floats(0.0, 1e9))
def test_an_origin_of_the_clock_changes_no_pace(shift: float) -> None:
    """Only differences of instants count."""
    rates = list[float]()
    for origin in (0.0, float(int(shift))):
        driver = Driver()
        driver.now = origin
        driver.paced(100)
        driver.learn(10.0)
        rates.append(driver.search.rate or 0.0)
    assert rates[0] == pytest.approx(rates[1], rel=1e-3)


@pytest.mark.parametrize(("taken", "kept"), [(0.0, 0.5), (0.6, 0.6), (0.95, 0.95)])
def test_a_leak_lowers_the_pace_no_further_than_to_what_was_taken_beside_it(
    taken: float, kept: float
) -> None:
    """A bucket that has nothing left gives its rate: no less than it took of the pace."""
    driver = paced_at()
    driver.paced(5)
    pace = driver.search.pace
    assert pace is not None
    driver.now += 5.0  # a silence in which nothing was asked for
    driver.search.learn(evolve(driver.refuse(), taken=taken), driver.now)
    assert driver.search.rate == pytest.approx(kept * pace, rel=0.02)
