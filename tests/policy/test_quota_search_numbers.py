"""The numbers of the quota search, each by what it does to the pace."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from batchllm.policy.learned import Learned
from batchllm.policy.probing import Probing
from batchllm.policy.quota_search import QuotaSearch
from tests.policy.test_quota_search import Driver, paced_at


def paced_for(driver: Driver, seconds: float, *, lost: int = 0) -> None:
    """Send at the pace for *seconds*; of the last calls *lost* in a hundred are not accepted."""
    end = driver.now + seconds
    due = 0
    while (at := max(driver.now, driver.search.next_time(driver.now))) < end:
        driver.now = at
        driver.send()
        due += lost
        if due >= 100:
            due -= 100
            driver.search.log.on_lost(driver.search.log.count - 1)
    driver.now = end


def seconds_until(driver: Driver, reached: Callable[[float], bool]) -> float:
    """Send at the pace, and return after how many seconds it is as *reached* says."""
    begun = driver.now
    while not reached(driver.search.pace or 0.0):
        driver.paced(1)
    return driver.now - begun


def settled_at(rate: float = 10.0) -> Driver:
    """A search whose rate was confirmed until k was two minutes."""
    driver = paced_at(rate)
    for _ in range(5):
        while driver.search.early:
            driver.paced(1)
        driver.paced(5)
        driver.learn()
    assert driver.search._k_now >= 119.9
    return driver


def burst(accepted: int, seconds: float) -> Driver:
    """A search without a rate, which has just sent *accepted* calls evenly."""
    driver = Driver()
    for number in range(accepted):
        driver.now = seconds * number / accepted
        driver.send()
    driver.now = seconds
    return driver


def test_a_rate_that_is_mostly_a_pause_doubles_in_five_seconds_and_another_in_23() -> None:
    """The quota was back some time before the pause ended, so that any factor may be missing."""
    for pause, seconds in ((0.5, 4.7), (0.1, 23.4)):
        driver = burst(100, 0.3)
        driver.learn(pause)
        first = driver.search.rate or 0.0
        until = seconds_until(driver, lambda pace, least=2 * first: pace >= least)
        assert until == pytest.approx(seconds, rel=0.05)


def test_a_first_rate_that_several_refusals_halve_is_not_probed_at_once() -> None:
    """It was a full bucket's burst; one that a lone refusal lowers is still a guess."""
    for single, probe in ((False, 5.0), (True, 1.0)):
        driver = burst(100, 0.3)
        driver.learn(0.5)
        paced_for(driver, 0.2, lost=90)
        driver.search.learn(evolve(driver.refuse(), single=single), driver.now)
        assert driver.search._probing.k == probe


@pytest.mark.parametrize(
    ("pause", "hinted", "at_once"),
    [(2.9, False, True), (3.1, False, False), (0.49, True, False), (0.51, True, True)],
)
def test_a_lowered_first_rate_is_probed_at_once_if_a_refusal_costs_little(
    pause: float, hinted: bool, at_once: bool
) -> None:
    """A longer pause is a window's, and a hint of less bound its call alone."""
    driver = burst(100, 0.3)
    driver.learn(0.1)
    paced_for(driver, 0.2, lost=90)
    driver.search.learn(evolve(driver.refuse(pause), hinted=hinted), driver.now)
    assert driver.search._probing.k == (1.0 if at_once else 5.0)


def test_a_rate_that_may_have_been_lowered_by_noise_doubles_in_twelve_seconds() -> None:
    """A rate that is kept in doubt is left as soon as it is refused no more."""
    driver = paced_at(10.0)
    driver.search.keep(10.0, driver.now)
    assert seconds_until(driver, lambda pace: pace >= 20.0) == pytest.approx(11.7, rel=0.05)


def fall(driver: Driver, paced: float) -> QuotaSearch:
    """Have the quota fall by 47 %, and a leak after *paced* seconds of that."""
    paced_for(driver, paced, lost=47)
    driver.learn()
    return driver.search


def test_a_fall_of_15_percent_is_a_move_after_which_probes_come_after_10_to_15_seconds() -> None:
    """A quota that moved once moves again; more often costs more refusals than they show."""
    search = fall(settled_at(), 20.0)
    assert not search.confirmed
    assert search._k_now == pytest.approx(15.0)
    driver = settled_at()
    fall(driver, 20.0)
    assert fall(driver, 12.0)._k_now == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("make", "row"),
    [
        (settled_at, 10.0),  # seconds
        (lambda: settled_at(1.0), 65.0),  # the time of thirty calls, at what is left of the rate
        (paced_at, 7.5),  # 1.5 k
    ],
)
def test_cuts_count_as_one_row_until_some_seconds_without_a_refusal(
    make: Callable[[], Driver], row: float
) -> None:
    """The first cuts of a row are on the way: a rate is confirmed by the one before the row."""
    for seconds, confirmed in ((0.9 * row, False), (1.15 * row, True)):
        driver = make()
        assert not fall(driver, max(15.0, row)).confirmed
        paced_for(driver, seconds)
        driver.learn()
        assert driver.search.confirmed == confirmed


def test_a_pace_that_rose_by_a_tenth_is_measured_over_its_last_minute_alone() -> None:
    """Over five minutes, most of them at the rate of before, the rise would hardly show."""
    shown = []
    for share in (1.08, 1.16):
        driver = settled_at()
        rate = driver.search.rate or 0.0
        seconds_until(driver, lambda pace, least=share * rate: pace >= least)
        driver.learn(10.0)
        shown.append((driver.search.rate or 0.0) / rate)
    assert shown == pytest.approx([1.03, 1.107], abs=0.005)


def test_a_rate_is_measured_over_five_minutes_at_most() -> None:
    """Seven minutes before a refusal the quota may have been another; the last three are too few.

    The curve is 3.5 % above the rate in the mean of its last five minutes, and 3.0 % over all.
    """
    driver = settled_at(1.0)
    rate = driver.search.rate or 0.0
    assert seconds_until(driver, lambda pace: pace >= 1.08 * rate) > 400.0
    driver.learn(10.0)
    assert driver.search.rate == pytest.approx(1.035 * rate, rel=0.002)


@pytest.mark.parametrize(("share", "moved"), [(1.2, False), (1.4, True)])
def test_a_pace_a_quarter_above_the_rate_shows_that_the_quota_rose(
    share: float, moved: bool
) -> None:
    """A cut to what was taken meanwhile confirms that rate, and leaves the one of before."""
    driver = settled_at()
    rate = driver.search.rate or 0.0
    seconds_until(driver, lambda pace: pace >= share * rate)
    driver.learn()
    assert (driver.search._probing._before.rate > 1.1 * rate) == moved


def test_each_refusal_of_an_episode_is_a_hundred_calls_until_the_next() -> None:
    """So that refusals are 0.5 % at most, however many canaries an episode takes."""
    driver = paced_at(5.0)
    while driver.search.early:
        driver.paced(1)
    driver.learn()
    assert driver.search.confirmed
    assert driver.search._k_now == pytest.approx(100 / (driver.search.rate or 0.0))


def test_a_full_buckets_burst_may_have_been_ten_times_the_rate() -> None:
    """Where several calls are refused before anything sure was measured, it was no chance."""
    driver = burst(200, 2.0)
    driver.learn()
    paced_for(driver, 0.5, lost=100)
    pace = driver.search.pace or 0.0
    episode = evolve(driver.refuse(), single=False)
    driver.search.learn(episode, driver.now)
    assert driver.search.rate == pytest.approx(0.1 * pace, rel=0.01)


def test_a_refusal_that_shows_no_other_rate_takes_off_a_hundredth() -> None:
    """A pace that is refused is too high by something, or the next refusal would come as soon."""
    driver = paced_at(10.0)
    while driver.search.early:
        driver.paced(1)
    pace = driver.search.pace or 0.0
    driver.learn()
    assert driver.search.rate == pytest.approx(0.99 * pace, rel=5e-4)


@pytest.mark.parametrize(("share", "least"), [(0.6, 0.84), (0.9, 0.0)])
def test_a_window_is_believed_if_four_fifths_of_its_time_were_asked_for(
    share: float, least: float
) -> None:
    """Of a window that was not asked for nothing shows how much it would have given."""
    driver = burst(500, 50.0)
    driver.learn(10.0)
    for _ in range(2):
        paced_for(driver, 50.0)
        driver.learn(10.0)
    rate = driver.search.rate or 0.0
    asked = 25.0 * share
    paced_for(driver, asked, lost=50)
    driver.now += 50.0 - 2 * asked
    paced_for(driver, asked, lost=50)
    driver.learn(10.0)
    assert least < (driver.search.rate or 0.0) / rate < least + 0.83


@pytest.mark.parametrize(("doublings", "k"), [(3, 10.0), (4, 15.0)])
def test_a_rate_that_moved_is_probed_a_quarter_as_long_as_the_one_before(
    doublings: int, k: float
) -> None:
    """After forty seconds ten, after eighty as long as is allowed at first: fifteen."""
    probing = Probing()
    probing.begin(10.0, guessed=False)
    for _ in range(doublings):
        assert probing.on_rate(10.0)
        probing.remember(10.0)
    assert probing.k == 5.0 * 2**doublings
    assert not probing.on_rate(5.0)
    assert probing.k == k


def test_after_a_move_the_longest_k_grows_by_a_twentieth_with_each_confirmation() -> None:
    """Fifteen seconds become two minutes within forty: what moved once stays under watch."""
    probing = Probing()
    probing.begin(10.0, guessed=False)
    for rate in (10.0, 10.0, 10.0, 20.0, *(20.0,) * 10):
        probing.on_rate(rate)
        probing.remember(rate)
    assert probing.k == pytest.approx(15.0 * 1.05**9)


def test_what_an_earlier_run_learned_is_trusted_for_a_day() -> None:
    """Quotas are often per day: yesterday's rate at this hour is still one of this account."""
    assert Learned(rate=1.0, age=86_000.0).recent
    assert not Learned(rate=1.0, age=87_000.0).recent


def test_a_window_that_was_not_used_up_proves_a_hundredth_more_than_the_rate() -> None:
    """A pace above the rate was taken, but by a window that had more to give than a whole one."""
    driver = burst(500, 50.0)
    driver.learn(10.0)
    for _ in range(3):
        paced_for(driver, 50.0)
        driver.learn(10.0)
    rate = driver.search.rate or 0.0
    seconds_until(driver, lambda pace: pace >= 1.08 * rate)
    driver.learn(10.0)
    assert driver.search.rate == pytest.approx(1.01 * rate, rel=0.001)
