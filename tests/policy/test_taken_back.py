"""The work of lone refusals on a rate is taken back once accepted calls speak against it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from batchllm.policy.learned import Learned
from tests.policy.test_quota_search import Driver, paced_at
from tests.policy.test_quota_search_numbers import burst, settled_at


def guessed() -> tuple[Driver, float]:
    """A rate of which nothing sure is known, and which a lone refusal has just halved."""
    driver = burst(100, 2.0)
    driver.learn()
    driver.paced(10)
    pace = driver.search.pace or 0.0
    driver.learn()
    assert not driver.search.sure
    assert 0.5 * pace <= (driver.search.rate or 0.0) < 0.85 * pace
    return driver, pace


def several(driver: Driver) -> None:
    """Have more than one call refused at once, which is no chance."""
    driver.search.learn(evolve(driver.refuse(), single=False), driver.now)


def test_a_guess_is_undone_by_thirty_calls_without_a_refusal() -> None:
    """Chance refused the call: a quota of the halved rate would have been empty by then."""
    driver, pace = guessed()
    lowered = driver.search.rate
    driver.paced(29)
    assert driver.search.rate == lowered
    driver.paced(1)
    assert driver.search.rate == pytest.approx(pace, rel=0.001)
    assert driver.search.pace == pytest.approx(0.98 * pace, rel=0.001)
    undone = driver.search.rate
    driver.paced(100)
    assert driver.search.rate == undone, "it is undone once"


@pytest.mark.parametrize("how", ["lone", "several", "explained", "doubted"])
def test_a_guess_stands_if_anything_else_was_learned_meanwhile(how: str) -> None:
    """A second refusal, a limit that explains it, or the rate of before noise was suspected."""
    driver, pace = guessed()
    driver.paced(20)
    match how:
        case "lone":
            driver.learn()
            driver.learn()  # a third one, at once, so that not even this guess is left
        case "several":
            several(driver)
        case "explained":
            driver.search.skip(driver.refuse())
        case _:
            driver.search.keep(0.9 * pace, driver.now)
    rate = driver.search.rate
    driver.paced(29)
    assert driver.search.rate == rate
    if how != "lone":
        driver.paced(50)
        assert driver.search.rate == rate


def test_what_was_measured_is_not_undone() -> None:
    """By more than thirty accepted calls, below a rate that had settled, or by several refusals."""
    for driver, lost in ((paced_at(10.0), 10), (settled_at(1.0), 30)):
        for number in range(45):
            driver.paced(1)
            if number < lost:
                driver.search.log.on_lost(driver.search.log.count - 1)
        before = driver.search.pace or 0.0
        driver.learn()
        rate = driver.search.rate or 0.0
        assert rate < 0.85 * before
        driver.paced(60)
        assert driver.search.rate == rate
    driver = burst(100, 2.0)
    driver.learn()
    driver.paced(10)
    several(driver)
    rate = driver.search.rate
    driver.paced(60)
    assert driver.search.rate == rate


@pytest.mark.parametrize(("make", "most"), [(paced_at, 1.5), (settled_at, 1.0)])
def test_a_refusal_comes_too_soon_before_one_and_a_half_k_until_a_rate_has_settled(
    make: Callable[[], Driver], most: float
) -> None:
    """A bucket of just the measured rate is empty at 2k; other clients of it refuse sooner."""
    search = make().search
    for share, soon in ((0.99, True), (1.01, False)):
        search._paced = share * most * search._k_now
        assert search.too_soon == soon


def test_proven_noise_takes_back_what_lone_refusals_did() -> None:
    """Down to the rate that several refusals showed last, or one that a probe ended with."""
    driver = burst(100, 2.0)
    driver.learn()
    driver.paced(40)
    several(driver)
    shown = driver.search.rate or 0.0
    for _ in range(3):
        driver.paced(20)
        driver.learn()
    assert (driver.search.rate or 0.0) < 0.9 * shown
    driver.search.take_back()
    assert driver.search.rate == pytest.approx(shown)
    assert driver.search.pace == pytest.approx(0.98 * shown)


@pytest.mark.parametrize(("share", "trusted"), [(1.95, False), (2.05, True)])
def test_a_lone_refusal_is_trusted_from_2k_on(share: float, trusted: bool) -> None:
    """There a bucket of the measured rate is empty again, whatever chance does."""
    driver = paced_at(10.0)
    before = driver.search.rate or 0.0
    while driver.search._paced < share * driver.search._k_now:
        driver.paced(1)
    for number in range(90):
        driver.search.log.on_lost(driver.search.log.count - 1 - number)
    driver.search._paced = share * driver.search._k_now
    driver.learn()
    lowered = driver.search.rate or 0.0
    assert lowered < 0.9 * before
    driver.search.take_back()
    assert driver.search.rate == pytest.approx(lowered if trusted else before)
    driver.paced(60)
    assert driver.search.rate == pytest.approx(lowered if trusted else before), "nor is it a guess"


def test_nothing_is_taken_back_of_a_rate_that_had_settled() -> None:
    """Refusals of it come of a quota that fell, or of another client."""
    driver = settled_at()
    for _ in range(3):
        driver.paced(20)
        driver.learn()
    rate = driver.search.rate
    driver.search.take_back()
    assert driver.search.rate == rate


def test_what_an_earlier_run_learned_is_taken_back_to() -> None:
    """Noise in the first seconds of a run does not lower it for good."""
    driver = Driver(Learned(rate=10.0))
    for _ in range(3):
        driver.paced(8)
        driver.learn()
    assert (driver.search.rate or 0.0) < 9.0
    driver.search.take_back()
    assert driver.search.rate == 10.0


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), min_size=1, max_size=8))
def test_taking_back_makes_nothing_slower_and_no_faster_than_it_ever_was(
    course: list[tuple[int, bool]],
) -> None:
    """In any order of lone refusals and of several at once."""
    driver = burst(100, 2.0)
    driver.learn()
    highest = driver.search.rate or 0.0
    for calls, lone in course:
        driver.paced(calls)
        highest = max(highest, driver.search.pace or 0.0)
        if lone:
            driver.learn()
        else:
            several(driver)
    before = driver.search.pace or 0.0
    driver.search.take_back()
    assert before <= (driver.search.pace or 0.0) <= max(before, highest)
