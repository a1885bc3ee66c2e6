"""Refusals that may mean nothing are put to the proof, and forgiven at their share."""

from __future__ import annotations

from math import inf

import pytest

from batchllm.policy.noise import Noise


def leak(
    noise: Noise,
    after: float,
    *,
    before: float = 10.0,
    calls: int = 50,
    early: bool = True,
    window: bool = False,
) -> float | None:
    return noise.on_leak(0.0, before, after, calls, 0.0, early=early, window=window)


def row(noise: Noise, *rates: float, before: float = 10.0) -> list[float | None]:
    """Refuse after a few calls each, late, so that only the row of them can be doubted."""
    found: list[float | None] = []
    for after in rates:
        found.append(leak(noise, after, before=before, calls=3, early=False))
        before = after
    return found


def send(noise: Noise, count: int, pace: float = inf, *, below: bool = False) -> None:
    """Send *count* calls from second 0 on."""
    for number in range(count):
        noise.on_send((number + 1) / pace, below=below)


def doubted() -> Noise:
    """Two early leaks that lowered the rate from 10 to 8 calls a second."""
    noise = Noise()
    assert leak(noise, 9.0) is None
    assert leak(noise, 8.0) == 10.0
    assert noise.doubted
    return noise


def known() -> Noise:
    noise = doubted()
    send(noise, 4)
    assert noise.judge(0.2, 0.2)
    return noise


def test_two_early_leaks_are_doubted() -> None:
    """The rate of before the first of them is returned, and a share of 1 % is assumed."""
    assert doubted().share == 0.01


@pytest.mark.parametrize(("after", "noisy"), [(9.49, True), (9.51, False)])
def test_there_is_nothing_to_prove_if_the_rate_fell_by_less_than_a_twentieth(
    after: float, noisy: bool
) -> None:
    """The next leak may still lower it."""
    noise = Noise()
    leak(noise, 9.8)
    assert (leak(noise, after) is not None) == noisy
    assert noisy or leak(noise, 9.4) == 10.0


def test_a_leak_that_comes_at_once_begins_the_row_again() -> None:
    """A quota that fell refuses so."""
    noise = Noise()
    leak(noise, 9.0)
    assert leak(noise, 8.0, calls=14) is None
    assert [leak(noise, 8.0, calls=15) for _ in range(2)] == [None, 10.0]


def test_a_leak_that_comes_late_counts_for_neither() -> None:
    """Noise and a quota that is probed both refuse then."""
    noise = Noise()
    leak(noise, 9.0)
    assert leak(noise, 8.0, early=False) is None
    assert leak(noise, 8.0) == 10.0


@pytest.mark.parametrize(
    ("before", "row"), [(7.1, False), (7.3, True), (8.0, True), (10.9, True), (11.1, False)]
)
def test_a_rate_that_moved_between_two_leaks_ends_their_row(before: float, row: bool) -> None:
    """It was lowered from 10 to 8: beyond a tenth of these it is a quota's that fell or rose.

    A doubt would go back to a rate that is long over, or would never begin.
    """
    noise = Noise()
    leak(noise, 8.0)
    first, second = leak(noise, 7.0, before=before), leak(noise, 6.0, before=7.0)
    assert (first, second) == ((10.0, None) if row else (None, before))


@pytest.mark.parametrize(("count", "proven"), [(19, False), (20, True)])
def test_more_than_the_lowered_rate_could_give_proves_noise(count: int, proven: bool) -> None:
    """At 10 calls a second four more than 8 a second are accepted within 20."""
    noise = doubted()
    send(noise, count, 10.0)
    assert noise.judge(9.0, 0.2) == proven
    assert (noise.doubted, noise.share) == (not proven, 0.01)


def test_a_doubt_asks_at_once_for_four_calls_more_than_the_lowered_rate_could_have_given() -> None:
    """Understood half a second after the refusal, it has four calls of 8 a second to go first."""
    noise = Noise()
    leak(noise, 9.0)
    assert noise.on_leak(0.5, 10.0, 8.0, 50, 0.0, early=True, window=False) == 10.0
    sent = 0
    while noise.asks(0.5, 0.2):
        noise.on_send(0.5, below=False)
        sent += 1
    assert sent == 8
    assert not noise.judge(0.69, 0.2), "they may still be refused"
    assert noise.judge(0.71, 0.2)


def test_a_doubt_asks_no_longer_than_a_refusal_takes() -> None:
    """Without items the bucket would fill, and all that it holds would go at once later."""
    noise = doubted()
    assert noise.asks(0.19, 0.2)
    assert not noise.asks(0.2, 0.2)
    assert not known().asks(0.0, 0.2)


@pytest.mark.parametrize(("refused", "noisy"), [(0, True), (1, True), (2, False), (4, False)])
def test_two_refusals_of_those_calls_prove_a_quota(refused: int, noisy: bool) -> None:
    """All of them are borne, since they were asked for; and the next doubt needs three leaks."""
    noise = doubted()
    send(noise, 4)
    assert all(noise.forgives(below=False) for _ in range(refused))
    assert noise.judge(0.2, 0.2)
    assert (noise.doubted, noise.share) == (False, 0.01 if noisy else 0.0)
    noise.share = 0.0
    assert [leak(noise, 8.0) for _ in range(3)][1:] == ([10.0, None] if noisy else [None, 10.0])


def test_a_quota_that_refuses_before_they_are_sent_ends_the_doubt_by_its_second_refusal() -> None:
    """One is borne; where a declared limit spaces the calls it takes longer to send them."""
    noise = doubted()
    send(noise, 5, 10.0)
    assert [noise.forgives(below=False) for _ in range(2)] == [True, False]
    assert (noise.doubted, noise.share) == (False, 0.0)
    assert [leak(noise, 8.0) for _ in range(3)] == [None, None, 10.0]


def test_a_call_that_never_left_proves_nothing() -> None:
    """One more is asked for."""
    noise = doubted()
    send(noise, 4)
    noise.on_unsent()
    assert not noise.judge(0.2, 0.2)
    send(noise, 1)
    assert noise.judge(0.2, 0.2)


def test_a_proof_makes_two_leaks_enough_again() -> None:
    """For a time when the noise was thought to be over."""
    noise = doubted()
    for _ in range(2):
        noise.forgives(below=False)
    assert [leak(noise, 8.0) for _ in range(3)] == [None, None, 10.0]
    send(noise, 4)
    assert noise.judge(0.2, 0.2)
    noise.share = 0.0
    assert [leak(noise, 8.0) for _ in range(2)] == [None, 10.0]


def test_nothing_is_forgiven_before_noise_is_known() -> None:
    """And nothing is counted."""
    noise = Noise()
    send(noise, 1000)
    assert not noise.forgives(below=False)


def test_four_are_forgiven_at_once_and_then_two_in_a_hundred_calls() -> None:
    """Twice the share of 1 %, so that noise of up to 2 % is borne."""
    noise = known()
    assert [noise.forgives(below=False) for _ in range(5)] == [True] * 4 + [False]
    send(noise, 51)
    assert [noise.forgives(below=False) for _ in range(2)] == [True, False]
    send(noise, 10_000)
    assert [noise.forgives(below=False) for _ in range(5)] == [True] * 4 + [False]


def test_below_the_rate_four_and_three_in_a_hundred_are_forgiven() -> None:
    """There a quota refuses nothing."""
    noise = known()
    assert [noise.forgives(below=True) for _ in range(4)] == [True] * 4
    for _ in range(4):
        assert noise.forgives(below=False)
    assert not noise.forgives(below=True)
    send(noise, 100, below=True)
    for _ in range(2):
        assert noise.forgives(below=False)
    assert [noise.forgives(below=True) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("seen", "noisy"), [(2, False), (3, True)])
def test_it_was_a_quota_if_far_fewer_are_refused_below_the_rate_than_expected(
    seen: int, noisy: bool
) -> None:
    """Of 800 calls noise of 1 % refuses eight; fewer than 2.4 of them are none."""
    noise = known()
    for number in range(800):
        noise.on_send(0.0, below=True)
        if number < seen:
            noise.forgives(below=True)
        assert noise.share or number == 799
    assert (noise.share > 0) == noisy
    if noisy:  # and it is counted afresh
        send(noise, 800, below=True)
        assert not noise.share


def test_six_leaks_in_a_row_that_halved_the_rate_are_doubted() -> None:
    """However few calls lie between them: a quota that fell to a half is found within five."""
    noise = Noise()
    assert row(noise, 9, 8, 7, 6, 5) == [None] * 5
    assert row(noise, 4.9, before=5) == [10.0]
    assert (noise.doubted, noise.share) == (True, 0.02)


@pytest.mark.parametrize(("after", "doubted"), [(5.01, False), (4.99, True)])
def test_a_row_that_did_not_halve_the_rate_is_a_quota_that_is_followed(
    after: float, doubted: bool
) -> None:
    """Each further leak is asked again."""
    noise = Noise()
    row(noise, 9, 8, 7, 6, 5.5)
    assert row(noise, after, before=5.5) == [10.0 if doubted else None]


def test_a_window_is_no_part_of_a_row() -> None:
    """Nor does it end one: by chance the canaries of noise are refused, too."""
    noise = Noise()
    row(noise, 9, 8, 7, 6, 5)
    assert leak(noise, 4.9, before=5.0, calls=3, window=True) is None
    assert row(noise, 4.8, before=4.9) == [10.0]


@pytest.mark.parametrize(("before", "ended"), [(8.9, False), (9.1, True)])
def test_a_rate_that_came_back_to_where_the_row_began_ends_it(before: float, ended: bool) -> None:
    """To a tenth; one that was lowered by guesses is raised on the way."""
    noise = Noise()
    row(noise, 9, 8, 7, 6, 5)
    assert row(noise, 4.9, before=before) == [None if ended else 10.0]


def test_small_falls_are_a_row_too() -> None:
    """Though none of them goes below where the row began by a tenth."""
    noise = Noise()
    assert row(noise, 9.5, 9.1, 8.7, 8.3, 4.99) == [None] * 5
    assert row(noise, 4.9, before=4.99) == [10.0]


def test_a_row_that_proved_wrong_has_to_fall_to_a_quarter_next() -> None:
    """Until a proof."""
    noise = Noise()
    row(noise, 9, 8, 7, 6, 5, 4)
    noise.on_send(0.1, below=False)
    assert [noise.forgives(below=False) for _ in range(2)] == [True, False]
    assert row(noise, 9, 8, 7, 6, 5, 4, 2.6) == [None] * 7
    assert row(noise, 2.4, before=2.6) == [10.0]
    send(noise, 4)
    assert noise.judge(0.2, 0.2)
    assert noise.share == 0.02
    assert row(noise, 9, 8, 7, 6, 5, 4.9)[-1] == 10.0


def test_a_doubt_by_another_sign_leaves_the_row_as_it_is() -> None:
    """If it proves wrong: two leaks that are far from each other may be a part of it."""
    noise = Noise()
    row(noise, 9, 8)
    assert leak(noise, 7, before=8) is None
    assert leak(noise, 6, before=7) == 8.0
    for _ in range(2):
        noise.forgives(below=False)
    assert row(noise, 5, 4, before=6) == [None, 10.0]
