"""The simulated world: what it measures has to be what happened."""

from __future__ import annotations

from math import inf
from random import Random
from typing import Any

import pytest
from attrs import define, field

from batchllm.simulator import Limits, ParallelCalls, SlidingLog, TokenBucket, no_hint
from benchmarks.quota import Traffic, simulate
from benchmarks.quota.rivals import AimdConcurrency, CubicRate

AT_ONCE = (0.0, 0.0)


@define
class Eager:
    """Sends as soon as it may, at most `at_once`, and never between `shut` instants."""

    at_once: float = inf
    shut: tuple[float, float] = (inf, inf)
    sends: list[tuple[float, float]] = field(factory=list)
    ends: list[tuple[float, bool, float | None]] = field(factory=list)
    in_flight: int = 0

    def next_time(self, now: float, tokens: float) -> float:
        if self.in_flight >= self.at_once:
            return inf
        return self.shut[1] if self.shut[0] <= now < self.shut[1] else now

    def on_send(self, now: float, tokens: float) -> Any:
        self.in_flight += 1
        self.sends.append((now, tokens))
        return len(self.sends)

    def on_result(self, now: float, send: Any, accepted: bool, wait: float | None) -> None:
        self.in_flight -= 1
        self.ends.append((now, accepted, wait))


def traffic(**given: Any) -> Traffic:
    """Answers of exactly a second, and no time on the way."""
    return Traffic(**{"way": AT_ONCE, "answer": lambda rng: 1.0, **given})


def test_every_item_is_answered_once_and_the_end_is_the_last_answer() -> None:
    """Ten items, two callers: five answers of a second in a row."""
    client = Eager()
    record = simulate(
        client,
        Limits(TokenBucket(1000, 1.0)),
        rng=Random(1),
        traffic=traffic(items=10, callers=2),
    )
    assert (record.answered, record.sends, record.ended) == (10, 10, 5.0)
    assert client.in_flight == 0


def test_a_refused_item_waits_for_its_own_hint_and_then_goes_first() -> None:
    """It goes again when its hint is over, before what was refused later; tokens tell which."""
    sizes = iter([7.0, 8.0, 9.0])
    client = Eager(at_once=1)
    server = Limits(SlidingLog(1, 1.5))
    record = simulate(
        client,
        server,
        rng=Random(1),
        traffic=traffic(items=3, callers=2, tokens=lambda rng: next(sizes), answer=lambda _: 0.5),
    )
    ready = 0.0
    for (sent, tokens), (ended, _, wait) in zip(client.sends, client.ends, strict=True):
        if tokens == 8.0:
            assert sent >= ready
            ready = ended + (wait or 0.0)
    answered = [
        tokens for (_, tokens), end in zip(client.sends, client.ends, strict=True) if end[1]
    ]
    assert answered == [7.0, 8.0, 9.0]
    assert record.refused == [0.5, 0.5, 2.0]


def test_an_item_that_waits_for_its_hint_keeps_its_caller() -> None:
    """With one caller nothing else is sent meanwhile, and that is no silence of the limiter."""
    client = Eager()
    server = Limits(SlidingLog(1, 10.0))
    record = simulate(client, server, rng=Random(1), traffic=traffic(items=2, callers=1))
    assert [at for at, _ in client.sends] == [0.0, 1.0, 10.0]
    assert record.silence == 0.0
    assert record.longest_hint == pytest.approx(9.0)


def test_without_hints_a_refused_item_is_ready_at_once() -> None:
    """Only the limiter decides when."""
    client = Eager(shut=(0.5, 10.5))
    server = Limits(SlidingLog(1, 10.0), hint=no_hint)
    record = simulate(
        client, server, rng=Random(1), traffic=traffic(items=2, callers=2, way=(0.25, 0.25))
    )
    assert [at for at, _ in client.sends] == [0.0, 0.0, 10.5]
    assert {wait for _, _, wait in client.ends} == {None}
    assert record.silence == pytest.approx(10.0)
    assert record.silence_at == pytest.approx(0.5)


def test_the_silence_at_the_end_stands_apart() -> None:
    """A client that falls silent for good says so by the final silence."""
    client = Eager(at_once=1, shut=(4.5, inf))
    record = simulate(
        client, Limits(TokenBucket(100, 1.0)), rng=Random(1), traffic=traffic(), until=60.0
    )
    assert record.silence == 1.0, "one call in flight keeps the others waiting"
    assert record.final_silence == 56.0
    assert record.last_send == 4.0
    assert record.ended == inf


def test_places_of_a_cap_are_free_when_the_server_has_answered() -> None:
    """A second call is refused while the first is served, and the way back holds no place."""
    client = Eager(at_once=1)
    record = simulate(
        [client, Eager(at_once=1, shut=(0.0, 1.05))],
        ParallelCalls(1, service=1.0, hint=no_hint),
        rng=Random(1),
        traffic=traffic(items=2, callers=1, way=(0.1, 0.1)),
    )
    # The first is served from 0.1 to 1.1; the second arrives at 1.15, before the answer does.
    assert record.accepted == [pytest.approx(0.1), pytest.approx(1.15)]
    assert record.refused == []


def test_clients_share_one_backlog() -> None:
    """Three clients answer thirty items between them, each with its own callers."""
    clients = [Eager(), Eager(), Eager()]
    record = simulate(
        clients,
        Limits(TokenBucket(1000, 1.0)),
        rng=Random(1),
        traffic=traffic(items=30, callers=5),
    )
    assert record.answered == 30
    assert [len(client.sends) for client in clients] == [10, 10, 10]


def test_figures_count_by_the_instant_of_arrival() -> None:
    """Accepted and refused calls of a stretch, and the share that was refused."""
    record = simulate(
        Eager(at_once=2),
        Limits(TokenBucket(1, 1.0, 1), hint=no_hint),
        rng=Random(1),
        traffic=traffic(way=(0.05, 0.05), answer=lambda rng: 0.0),
        until=10.0,
    )
    assert record.accepted_between(0.0, 5.0) == 5
    assert record.accepted_between(5.0, 10.0) == 5
    assert record.refused_share(0.0, 5.0) == pytest.approx(
        record.refused_between(0.0, 5.0) / (record.refused_between(0.0, 5.0) + 5)
    )


def test_the_same_seed_gives_the_same_run() -> None:
    """Nothing but the generator decides."""
    runs = [
        simulate(CubicRate(), Limits(TokenBucket(10, 1.0)), rng=Random(3), until=100.0)
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("rival", [AimdConcurrency, CubicRate])
def test_rivals_use_a_plain_quota(rival: type[AimdConcurrency | CubicRate]) -> None:
    """They are no straw men: both use a bucket of ten seconds to 95 % and more."""
    server = Limits(TokenBucket(600, 60.0, 100))
    record = simulate(rival(), server, rng=Random(1), until=900.0)
    assert record.accepted_between(300.0, 900.0) > 0.95 * server.sustained(300.0, 900.0)


def test_a_run_without_an_end_is_refused() -> None:
    """Neither items nor time end it."""
    with pytest.raises(ValueError, match="never ends"):
        simulate(Eager(), Limits(TokenBucket(1)), rng=Random(1))
