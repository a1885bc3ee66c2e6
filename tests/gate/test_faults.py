"""Refusals of every kind, through the whole engine, with the simulator's log as witness."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import (
    Category,
    EndCause,
    LLMCallStrategy,
    LLMWorkItem,
    Outcome,
    ProcessorConfig,
    ProviderError,
    QuotaScope,
    RateLimitConfig,
    ServerHint,
)
from batchllm.gate import Gate
from batchllm.policy import read_error
from batchllm.testing import RecordingObserver
from tests.gate.kit import Callers, provider, refused, sent

pytestmark = pytest.mark.anyio

Work = LLMWorkItem[Any, Any, Any]

DAY = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [
                    {
                        "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                        "quotaValue": "20",
                    }
                ],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"},
        ],
    }
}


def prompts(count: int, text: str = "p") -> list[tuple[str, str]]:
    return [(f"i{n}", f"{text}{n}") for n in range(count)]


def gaps_after(times: list[float], instant: float) -> float:
    """Seconds from *instant* to the next request."""
    return min(at for at in times if at > instant + 1e-9) - instant


class Refusing(LLMCallStrategy[str]):
    """Raises *errors* in turn, then answers; every call takes a tenth of a second."""

    def __init__(self, *errors: Exception, scope: QuotaScope | None = None) -> None:
        self.errors = list(errors)
        self.times: list[float] = []
        self.quota_scope = scope or QuotaScope()

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> tuple[str, None]:
        self.times.append(anyio.current_time())
        error = self.errors.pop(0) if self.errors else None
        await anyio.sleep(0.1)
        if error is not None:
            raise error
        return f"{prompt} at attempt {attempt}", None


def refusal(headers: dict[str, str] | None = None, body: object = None) -> ProviderError:
    return ProviderError("no", status=429, hint=read_error(429, headers or {}, body))


async def test_a_hint_in_seconds_is_obeyed_exactly() -> None:
    """Nothing is sent for 7 s, then one; the item is charged no attempt."""
    strategy, simulator = provider("instant?latency=0.2&faults=0")
    observer = RecordingObserver()
    items = [("first", "[[fault:429=7*1]]"), *prompts(20)]
    result = await run_batch(items, strategy, concurrency=10, observers=[observer])
    assert result.succeeded == 21
    assert result.by_id()["first"].attempts == 1
    refusals = [entry.finished or 0.0 for entry in refused(simulator)]
    assert len(refusals) == 1
    assert gaps_after(sent(simulator), refusals[0]) == pytest.approx(7.0, abs=1e-3)
    assert result.stats["rate_limit_count"] == 1
    assert result.stats["waits"]["cooldown_wait"] > 7.0
    names = [str(event) for event, _ in observer.events]
    assert sum("rate_limit" in name for name in names) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1", "retry-after-ms": "644"}, 0.644),
        (
            {
                "retry-after": "Tue, 20 Jan 2026 10:00:12 GMT",
                "date": "Tue, 20 Jan 2026 10:00:00 GMT",
            },
            12.0,
        ),
        ({"x-ratelimit-reset-requests": "2m", "retry-after": "119"}, 119.0),
    ],
)
async def test_every_spelling_of_a_hint_is_obeyed_exactly(
    headers: dict[str, str], seconds: float
) -> None:
    """Whole seconds, milliseconds before them, dates by the server's own clock."""
    strategy = Refusing(refusal(headers))
    result = await run_batch(prompts(3), strategy, concurrency=1)
    assert result.succeeded == 3
    assert strategy.times[1] - strategy.times[0] == pytest.approx(0.1 + seconds, abs=1e-3)


async def test_without_a_hint_the_pause_is_ours_and_one_call_tries() -> None:
    """About a second, doubled while the one call that tries is refused."""
    strategy = Refusing(*[refusal() for _ in range(4)])
    result = await run_batch(prompts(5), strategy, concurrency=1)
    assert result.succeeded == 5
    pauses = [b - a - 0.1 for a, b in pairwise(strategy.times)][:4]
    assert pauses == [pytest.approx(2.0**n, rel=0.21) for n in range(4)]


@pytest.mark.parametrize("word", ["86400", "-1", "NaN", "1e309", "soon", "9" * 10_000, "∞", ""])
async def test_absurd_hints_park_or_are_ignored(word: str) -> None:
    """A day's wait parks the scope; what makes no sense is no hint."""
    strategy = Refusing(refusal({"retry-after": word}))
    result = await run_batch(prompts(3), strategy, concurrency=1)
    if result.termination.cause is EndCause.PARKED:
        assert word == "86400"
        assert len(strategy.times) == 1
    else:
        assert word != "86400"
        assert result.succeeded == 3
        assert 0.8 <= strategy.times[1] - 0.1 <= 20


async def test_a_quota_that_an_error_tells_is_adopted() -> None:
    """36 s as told, then 20 a minute, and no further refusal."""
    strategy = Refusing(refusal(body=DAY))
    result = await run_batch(prompts(60), strategy, concurrency=1)
    assert result.succeeded == 60
    assert strategy.times[1] == pytest.approx(36.1, abs=1e-3)
    later = strategy.times[1:]
    assert max(sum(at <= t < at + 60 for t in later) for at in later) <= 20
    assert later[-1] - later[0] <= 60 * 3.1
    (scope,) = result.stats["scopes"].values()
    assert [(limit.dimension, limit.amount) for limit in scope.limits] == [("requests", 20)]


async def test_a_daily_quota_parks_the_scope() -> None:
    """The run ends at once, says so, and the rest is not run."""
    strategy, simulator = provider("groq?rpd=30&rpm=6000&latency=0.05")
    result = await run_batch(prompts(500), strategy, concurrency=4)
    assert result.termination.cause is EndCause.PARKED
    assert "quota is back" in result.termination.reason
    assert result.succeeded == 30
    assert result.failed + result.not_run == 500 - 30
    assert len(sent(simulator)) <= 34
    assert result.wall_time < 60


async def test_an_empty_account_stops_the_run() -> None:
    """No more calls than were in flight, and a clear message."""
    strategy, simulator = provider("instant?latency=0.2")
    items = [(f"i{n}", f"[[fault:insufficient-quota]] {n}") for n in range(300)]
    result = await run_batch(items, strategy, concurrency=4)
    assert result.termination.cause in (EndCause.PARKED, EndCause.FAIL_FAST)
    assert len(sent(simulator)) <= 4
    assert result.failures[0].error_category == Category.INSUFFICIENT_QUOTA
    assert "quota" in (result.failures[0].error or "")


async def test_a_request_that_is_too_large_fails_alone() -> None:
    """No retry, no pause, and the others go on."""
    strategy, simulator = provider("instant?latency=0.1")
    items = [("large", "[[fault:too-large]]"), *prompts(50)]
    result = await run_batch(items, strategy, concurrency=5)
    assert result.succeeded == 50
    assert result.by_id()["large"].error_category == Category.TOO_LARGE
    assert len(sent(simulator)) == 51
    assert result.stats["rate_limit_count"] == 0


async def test_a_storm_is_one_episode_with_one_canary() -> None:
    """500 in flight are refused at once: one pause, one call that tries, then no herd."""
    gate = Gate(requests_per_minute=6_000_000, seed=1)
    strategy, simulator = provider("instant?latency=2&refusal_latency=0.05")
    items = [(f"i{n}", f"[[fault:429*1]] {n}") for n in range(500)]
    config = ProcessorConfig(max_workers=500, timeout_per_item=None)
    result = await run_batch(items, strategy, config=config, gate=gate)
    assert result.succeeded == 500
    assert result.stats["rate_limit_count"] == 1
    times = sent(simulator)
    first = [at for at in times if at < 0.5]
    assert len(first) == 500
    again = sorted(at for at in times if at >= 0.5)
    assert again[0] == pytest.approx(1.0, rel=0.25)
    # The canary is alone until twice the time to a refusal has passed without one.
    assert again[1] - again[0] >= 0.0999
    for at in again:  # as at a cold start: what goes out at once has been earned by what was before
        assert sum(at <= t < at + 0.01 for t in again) <= max(4, 2 * sum(t < at for t in again))
        assert sum(at <= t < at + 0.25 for t in again) <= 8 + 1.1 * sum(t < at for t in again)
    assert gate.waiting == gate.limiter.in_flight == 0


async def test_an_overload_leaves_the_quota_alone() -> None:
    """Two minutes of 529: pauses with jitter, then full speed, and nothing learned."""
    gate = Gate(requests_per_minute=6_000, seed=1)
    callers = Callers(
        gate,
        seconds=0.1,
        verdict=lambda n, at: (Outcome.OVERLOADED, None) if at < 120 else (Outcome.OK, None),
    )
    async with anyio.create_task_group() as group:
        for _ in range(400):
            group.start_soon(callers.insist)
    snapshot = gate.snapshot()
    assert (snapshot.pace, snapshot.episodes) == (None, 1)
    during = [at for at in callers.times if 1 < at < 120]
    assert 2 <= len(during) <= 60
    after = sorted(at for at in callers.times if at >= 120)
    assert after[-1] - after[5] <= 400 / 100 * 1.05


async def test_garbage_headers_change_nothing() -> None:
    """Negative, huge and absurd numbers are as good as none."""
    headers = {
        "x-ratelimit-limit-requests": "-5",
        "x-ratelimit-remaining-requests": "-1",
        "x-ratelimit-reset-requests": "never",
        "x-ratelimit-limit-tokens": "0",
        "x-ratelimit-remaining-tokens": "1e99",
    }
    gate = Gate(requests_per_minute=6_000, seed=1)
    hint = read_error(None, headers)
    callers = Callers(gate, verdict=lambda n, at: (Outcome.OK, hint), seconds=0.01)
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(callers.call)
    assert callers.times[-1] <= 1.1
    assert [limit.amount for limit in gate.snapshot().limits] == [6_000]


async def test_a_quota_that_falls_is_followed() -> None:
    """Halved in the middle, with a neighbour that eats a tenth: few refusals, most is used."""
    strategy, simulator = provider(
        "quota-nohint?rpm=600&burst=10&neighbour=60&quota_changes=150*0.5"
    )
    config = ProcessorConfig(max_workers=50, batch_timeout=500.0, max_sleeping=100)
    items = ((f"i{n}", f"p{n}") for n in range(10**6))
    result = await run_batch(items, strategy, config=config)
    assert result.succeeded >= 0.9 * (150 * 9 + 350 * 4)
    assert result.stats["refused_share"] < 0.03
    assert len(refused(simulator)) == result.stats["throttled_calls"]


async def test_a_scope_that_is_throttled_leaves_another_alone() -> None:
    """One of two keys is refused for a minute; the other keeps its pace."""

    async def rate_of(bad: Exception | None) -> float:
        errors = [] if bad is None else [bad]
        other = Refusing(*errors, scope=QuotaScope("other"))
        good = Refusing(scope=QuotaScope("good"))
        work: list[Work] = [LLMWorkItem(f"g{n}", good, "p") for n in range(600)]
        if bad is not None:
            work[5:5] = [LLMWorkItem(f"b{n}", other, "p") for n in range(5)]
        config = ProcessorConfig(max_workers=20)
        result = await run_batch(work, config=config)
        assert result.failed == 0
        return 600 / (good.times[-1] - good.times[0])

    alone = await rate_of(None)
    beside = await rate_of(ProviderError("no", status=429, hint=ServerHint(wait=60.0)))
    assert beside >= 0.99 * alone


async def test_a_fixed_policy_pauses_exactly_and_starts_slowly() -> None:
    """``RateLimitConfig``: its seconds, then one line whose delays fall from first to last."""
    policy = RateLimitConfig(
        cooldown_seconds=30.0,
        backoff_multiplier=2.0,
        slow_start_items=5,
        slow_start_initial_delay=2.0,
        slow_start_final_delay=0.5,
    )
    strategy = Refusing(refusal(), refusal())
    config = ProcessorConfig(max_workers=1, rate_limit=policy)
    result = await run_batch(prompts(12), strategy, config=config)
    assert result.succeeded == 12
    times = strategy.times
    assert times[1] - times[0] == pytest.approx(30.1, abs=1e-3)
    assert times[2] - times[1] == pytest.approx(60.1, abs=1e-3)
    delays = [b - a for a, b in pairwise(times[2:8])]
    assert delays[0] == pytest.approx(2.0, abs=0.5)
    assert delays == sorted(delays, reverse=True)
    assert delays[-1] <= 0.9
