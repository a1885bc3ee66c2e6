"""A run in words: its waits and their reasons, its pace, the time that is left."""

from types import SimpleNamespace
from typing import Any

import pytest

from batchllm.cli.snapshot import Snapshot, duration_in_words
from batchllm.cli.tallies import Tallies
from batchllm.policy import Limit


def scope(**given: Any) -> SimpleNamespace:
    plain = {"cause": None, "until": None, "limits": (), "used": (), "pace": None}
    return SimpleNamespace(**{**plain, **given})


def seen(*scopes: Any, waiting: int = 3, own: Any = None, **tallied: Any) -> Snapshot:
    """A run at second 10 with these scopes."""
    stats = {
        "duration": 5.0,
        "in_flight": 2,
        "waiting": waiting,
        "sleeping": 1,
        "own_limits": own,
        "scopes": dict(enumerate(scopes)),
    }
    return Snapshot.of(Tallies(**{"total": 9, "done": 4, "failed": 1, **tallied}), stats, 10.0)


def test_counts_come_from_tallies_and_stats() -> None:
    """Each has its own."""
    now = seen(tokens=50)
    assert (now.done, now.total, now.failed, now.tokens) == (4, 9, 1, 50)
    assert (now.in_flight, now.waiting, now.sleeping, now.elapsed) == (2, 3, 1, 5.0)
    assert Snapshot.of(Tallies(), {}, 10.0).pause is None


def test_the_longest_pause_is_the_reason() -> None:
    """The other scopes do not matter, nor one whose pause has just ended."""
    cooling = scope(cause="throttled", until=14.0)
    now = seen(scope(until=99.0), cooling, scope(cause="overloaded", until=11.0))
    assert (now.reason, now.pause) == ("cooldown", 4.0)
    assert "3 waiting: cooldown 4 s" in now.describe()


@pytest.mark.parametrize(
    ("scopes", "why"),
    [
        ([scope()], "3 waiting: a free call"),
        ([scope(pace=5.0)], "3 waiting: quota"),
        (
            [scope(limits=(Limit("input_tokens", 100),), used=(0.99,))],
            "3 waiting: quota of input tokens",
        ),
        ([scope(cause="overloaded", until=12.0)], "3 waiting: server overloaded, cooldown 2 s"),
        ([scope(cause="outage", until=80.0)], "no answer from the server, next try in 1:10"),
        ([scope(cause="exhausted")], "3 waiting: quota exhausted"),
    ],
)
def test_why_items_wait(scopes: list[Any], why: str) -> None:
    """A pause, a quota, or only a free call."""
    assert why in seen(*scopes).describe()


def test_a_pause_without_waiting_items_is_shown() -> None:
    """The canary that tests the scope may be all there is."""
    assert "· cooldown 4 s ·" in seen(scope(cause="throttled", until=14.0), waiting=0).describe()


def test_the_limit_is_the_lowest_of_the_quotas() -> None:
    """Declared, reported and learned ones count."""
    limits = (Limit("requests", 3000), Limit("tokens", 10))
    reported = scope(limits=limits, used=(0.0, 0.0), pace=99.0)
    own = scope(limits=(Limit("requests", 600),), used=(0.0,))
    assert seen(reported).limit == 50.0
    assert seen(reported, own=own).limit == 10.0
    assert seen(scope(pace=7.5)).limit == 7.5
    guessed = (Limit("requests", 3000, per=0.4),)
    assert seen(scope(limits=guessed, used=(0.0,))).limit is None
    assert seen(scope(limits=limits, used=(0.0, 0.0), pace=7.5)).limit == 7.5
    assert seen(scope()).limit is None


def test_the_time_left_goes_by_the_rate_of_late() -> None:
    """A pause is added; before there is a rate, that of the whole run serves."""

    def eta(**given: Any) -> float | None:
        plain = {"done": 10, "total": 100, "failed": 0, "tokens": 0, "cost": None, "rate": 9.0}
        waits = {"in_flight": 0, "waiting": 0, "sleeping": 0}
        return Snapshot(**{**plain, **waits, **given}).eta

    assert eta() == 10.0
    assert eta(pause=5.0) == 15.0
    assert eta(rate=0.0, elapsed=2.0) == 18.0
    assert eta(rate=0.0) is None
    assert eta(total=None) is None


def test_without_a_total_the_time_so_far_is_shown() -> None:
    """A pipe does not say how long it is; and a run that ends has no time left."""
    assert "4 done · 1 failed · 0:05 so far" in seen(total=None).describe()
    tallies = Tallies(total=9, done=4)
    assert "· stopping ·" in Snapshot.of(tallies, {}, 1.0, "stopping").describe()


def test_the_commonest_failures_are_named() -> None:
    """Three of them, and how many kinds more there are."""
    kinds = tuple((name, 9 - n) for n, name in enumerate("abcde"))
    shown = Snapshot(
        done=0, total=None, failed=35, tokens=0, cost=12.5, rate=0.0,
        in_flight=0, waiting=0, sleeping=0, categories=kinds,
    )  # fmt: skip
    assert shown.describe().endswith("· $12.50 · failed: 9 a, 8 b, 7 c, 2 more kinds")


@pytest.mark.parametrize(
    ("tokens", "shown"), [(999, "999"), (1_000, "1.0k"), (2_000_000_000, "2.0G")]
)
def test_tokens_are_shortened(tokens: int, shown: str) -> None:
    """Large numbers have a unit."""
    assert f"{shown} tokens" in seen(tokens=tokens).describe()


def test_times_are_shown_as_on_a_clock() -> None:
    """Short ones in seconds, if that is wanted."""
    assert duration_in_words(3600) == "1:00:00"
    assert duration_in_words(62) == "1:02"
    assert duration_in_words(12.2, short=True) == "12 s"
    assert duration_in_words(75, short=True) == "1:15"


def test_batches_of_the_provider_are_shown_with_what_is_done_there() -> None:
    stats = {"provider_batches": {"batches": 3, "requests": 12_000, "done": 500}}
    shown = Snapshot.of(Tallies(), stats, 10.0).describe()
    assert "12,000 in 3 batches, 500 done there" in shown
    stats = {"provider_batches": {"batches": 1, "requests": 40, "done": 0}}
    assert "40 in 1 batch ·" in f"{Snapshot.of(Tallies(), stats, 10.0).describe()} ·"
