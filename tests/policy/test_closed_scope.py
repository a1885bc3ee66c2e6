"""A pause that several workers keep, and how long each of them waits for its canary."""

from __future__ import annotations

import pytest

from batchllm.policy.closed_scope import ClosedScope


def paused() -> ClosedScope:
    """Give a scope whose pause ended at 10 s, with a canary of worker "a" due by then."""
    scope = ClosedScope()
    scope.on_report(5.0, "a", 5.0, None)
    assert scope.wait(5.0, "b") == 5.0
    assert scope.wait(10.0, "a") == 0.0
    scope.on_canary("a", 10.0)
    return scope


def test_the_others_ask_again_four_times_a_second_while_a_canary_is_out() -> None:
    assert paused().wait(10.5, "b") == 0.25


def test_an_accepted_canary_opens_at_once_and_a_refused_one_waits_for_a_second() -> None:
    """The worker of a refused one has to understand its hint first."""
    accepted, refused = paused(), paused()
    accepted.on_report(11.0, "a", 0.0, True)
    assert accepted.open
    refused.on_report(11.0, "a", 0.0, False)
    assert not refused.open
    assert refused.wait(11.25, "b") == pytest.approx(0.75)
    assert refused.wait(12.0, "b") == 0.0


def test_a_canary_without_a_refusal_for_five_seconds_was_accepted() -> None:
    """Answers may take minutes, and its worker is there."""
    scope = paused()
    scope.on_report(15.0, "a", 0.0, None)
    assert scope.wait(15.0, "b") > 0.0
    scope.on_report(15.1, "a", 0.0, None)
    assert scope.wait(15.1, "b") == 0.0
    assert scope.open


def test_a_canary_whose_worker_is_silent_for_ten_seconds_is_lost() -> None:
    """Another gets one; the scope stays closed."""
    scope = paused()
    assert scope.wait(20.0, "b") > 0.0
    assert scope.wait(20.1, "b") == 0.0
    assert not scope.open
