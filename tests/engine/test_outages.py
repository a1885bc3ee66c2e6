"""An endpoint that does not answer costs no item; items that fail hold up nobody else."""

from __future__ import annotations

import logging
import random
from typing import Any

import anyio
import pytest
from attrs import define, field

from batchllm.api import BatchRun, open_pool, run_batch
from batchllm.core import (
    Category,
    EndCause,
    LLMCallStrategy,
    ProcessorConfig,
    ProviderError,
    QuotaScope,
    RetryConfig,
    ScopeParkedError,
    TransportError,
)
from batchllm.engine import DRAIN
from batchllm.gate import Gate
from batchllm.llm_strategies import Fallback
from batchllm.testing import Answer, Backend, Raise, ScriptedStrategy
from tests.engine.moments import share

pytestmark = pytest.mark.anyio
BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")


class OwnError(Exception):
    """An exception of the user's own code."""


ERRORS: dict[str, Any] = {
    "own": OwnError("mine"),
    "5xx": ProviderError("down", status=500),
    "connection": ConnectionError("reset"),
}


def failures_of(kind: str, share: float, attempts: int) -> list[int]:
    """Say how often each of 100 items fails; the failing ones are spread at random."""
    rng = random.Random(1)
    failing = set(rng.sample(range(100), round(100 * share)))
    times = {"twice": lambda: 2, "always": lambda: attempts, "random": lambda: rng.randint(1, 9)}
    return [times[kind]() if item in failing else 0 for item in range(100)]


ATTEMPTS, KINDS, SHARES = (3, 5, 8), ("twice", "always", "random"), (0.05, 0.2, 0.5)
# Any three of the four choices meet in each of their 27 ways, in 27 runs and not 81.
CHOICES = [
    (KINDS[i], sorted(ERRORS)[j], ATTEMPTS[k], SHARES[(i + j + k) % 3])
    for i in range(3)
    for j in range(3)
    for k in range(3)
]


@pytest.mark.parametrize(("kind", "error", "attempts", "share"), CHOICES)
async def test_items_that_fail_take_their_own_waits_and_no_more(
    kind: str, error: str, attempts: int, share: float
) -> None:
    """With any share of failures the batch is over in twice the waits of the unluckiest item."""
    fails = failures_of(kind, share, attempts)
    retry = RetryConfig(max_attempts=attempts, jitter=False)
    own = max(sum(retry.waits()[: min(times, attempts - 1)]) for times in fails)
    calls = sum(min(times + 1, attempts) for times in fails)
    script = {
        f"p{i}": [Raise(ERRORS[error], after=0.05)] * times + [Answer(after=0.05)]
        for i, times in enumerate(fails)
    }
    result = await run_batch(
        [f"p{i}" for i in range(100)],
        ScriptedStrategy(script),
        config=ProcessorConfig(max_workers=10, retry=retry, timeout_per_item=None),
    )
    assert result.failed == sum(times >= attempts for times in fails)
    assert result.wall_time <= 2 * (own + calls * 0.05 / 10)


@define(eq=False)
class Net(LLMCallStrategy[str]):
    """An endpoint that cannot be reached between *begin* and *end*; calls under way break then."""

    begin: float
    end: float
    seconds: float = 1.0
    fails_after: float = 0.02
    scope: str = "net"
    connected: bool = True
    calls: list[float] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.quota_scope = QuotaScope(self.scope)

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
        now = anyio.current_time()
        self.calls.append(now)
        if not self.begin <= now < self.end:
            broken = now < self.begin <= now + self.seconds
            await anyio.sleep(self.begin - now if broken else self.seconds)
            if not broken:
                return prompt, None
        await anyio.sleep(self.fails_after)
        msg = "no network"
        begun = self.begin <= now < self.end
        raise TransportError(msg, sent=not begun, connected=self.connected or not begun)

    def between(self, begin: float, end: float) -> int:
        """Count the calls of that time."""
        return sum(begin <= at < end for at in self.calls)


@pytest.mark.parametrize(
    ("anyio_backend", "calls", "length", "attempts"),
    [
        (backend, *choices)
        for backend in BACKENDS
        for choices in share(backend, (50, 500), (15.0, 600.0), (1, 3))
    ],
    indirect=["anyio_backend"],
)
async def test_no_network_for_a_while_costs_no_item(
    calls: int, length: float, attempts: int
) -> None:
    """Not with one attempt each either; and within 30 s of its end all is as before."""
    now = anyio.current_time()
    items = {50: 400, 500: 1_500}[calls]  # seconds of calls on both sides of the outage
    net = Net(now + 3.3, now + 3.3 + length)
    config = ProcessorConfig(max_workers=calls, retry=RetryConfig(max_attempts=attempts))
    result = await run_batch(range_of(items), net, config=config)
    assert (result.succeeded, result.failed) == (items, 0)
    assert result.wall_time <= items / calls + length + 30
    # The last twenty to fail and what was under way with them, then one canary at a time.
    assert net.between(net.begin + 1, net.end) <= length / 20 + 10


async def test_short_waits_and_short_timeouts_lose_nothing_either() -> None:
    """Neither attempts nor the item's stopwatch run out in an outage, whatever they are."""
    now = anyio.current_time()
    net = Net(now + 2.5, now + 62.5, fails_after=1.0)
    retry = RetryConfig(initial_wait=0.01, max_wait=0.02, max_attempts=2)
    config = ProcessorConfig(max_workers=4, retry=retry, timeout_per_item=1.5)
    result = await run_batch(range_of(100), net, config=config)
    assert (result.succeeded, result.failed) == (100, 0)


async def test_calls_that_hang_in_an_outage_lose_nothing() -> None:
    """A network that swallows everything shows in nothing but timeouts."""
    now = anyio.current_time()
    net = Net(now + 2.5, now + 100.0, fails_after=1_000.0)
    config = ProcessorConfig(max_workers=30, timeout_per_item=10.0)
    result = await run_batch(range_of(300), net, config=config)
    assert (result.succeeded, result.failed) == (300, 0)
    assert result.wall_time <= 10 + 97.5 + 30


def range_of(items: int) -> list[str]:
    return [f"p{number}" for number in range(items)]


@pytest.mark.parametrize(("answered", "seconds"), [(True, 600.0), (False, 60.0)])
async def test_a_dead_endpoint_stops_the_run(answered: bool, seconds: float) -> None:
    """The rest is stopped and can be run again; the reason says what to do."""
    now = anyio.current_time()
    net = Net(now + (3.3 if answered else 0.0), now + 1e9)
    result = await run_batch(range_of(1_000), net, concurrency=20)
    end = result.termination
    assert end.cause is EndCause.ENDPOINT_DOWN
    assert ("never gave an answer" in end.reason) is not answered
    assert "the last call failed with: " in end.reason
    assert "run the rest again" in end.reason
    assert result.failed == 0
    assert {r.error_category for r in result.results if not r.success} == {Category.STOPPED}
    assert seconds <= result.wall_time <= seconds + 25


async def test_outage_after_says_how_long_to_wait() -> None:
    """It is a setting of the run."""
    now = anyio.current_time()
    net = Net(now + 3.3, now + 1e9)
    config = ProcessorConfig(max_workers=20, outage_after=30.0)
    result = await run_batch(range_of(1_000), net, config=config)
    assert result.termination.cause is EndCause.ENDPOINT_DOWN
    assert result.wall_time == pytest.approx(34, abs=2)
    patient = Net(anyio.current_time() + 3.3, anyio.current_time() + 1_300)
    config = ProcessorConfig(max_workers=20, outage_after=None)
    result = await run_batch(range_of(1_000), patient, config=config)
    assert result.succeeded == 1_000


async def test_fewer_items_than_show_an_outage_fail_by_their_own_retries() -> None:
    """Five items and no network: each has its attempts, and nothing waits for a verdict."""
    net = Net(0.0, 1e9)
    config = ProcessorConfig(retry=RetryConfig(jitter=False))
    result = await run_batch(iter(range_of(5)), net, config=config)
    assert (result.failed, result.wall_time) == (5, pytest.approx(3.06, abs=2.5))
    assert {r.attempts for r in result.results} == {3}


@pytest.mark.parametrize("attempts", [2, 3])
@pytest.mark.parametrize("items", [12, 200])
async def test_a_server_that_is_started_anew_costs_no_item_though_none_is_left_to_try(
    items: int, attempts: int
) -> None:
    """All calls are under way when it goes; then nothing can connect for two minutes."""
    now = anyio.current_time()
    gate = Gate()
    net = Net(now + 5.0, now + 125.0, connected=False)
    await run_batch(["first"], net, gate=gate)  # it has answered once
    net.seconds = 10.0
    config = ProcessorConfig(retry=RetryConfig(max_attempts=attempts))
    result = await run_batch(range_of(items), net, config=config, concurrency=256, gate=gate)
    assert (result.succeeded, result.failed) == (items, 0)
    assert result.wall_time <= 125 + 30 + 10


async def test_a_drain_in_an_outage_ends_at_once() -> None:
    """Those that wait are stopped, not failed."""
    now = anyio.current_time()
    net, run = Net(now + 2.5, now + 1e9), BatchRun[str]()
    async with anyio.create_task_group() as group:

        async def stop() -> None:
            await anyio.sleep(60)
            run.stop(DRAIN)

        group.start_soon(stop)
        result = await run_batch(range_of(1_000), net, concurrency=20, into=run)
    assert result.termination.cause is EndCause.STOPPED
    assert result.failed == 0
    assert result.wall_time == pytest.approx(60, abs=1)


async def test_a_fallback_goes_on_with_the_endpoint_that_answers() -> None:
    """The dead one is tried now and then, and used again when it is back."""
    now = anyio.current_time()
    first, second = Net(now + 2.5, now + 100.0), Net(0.0, 0.0, scope="other")
    result = await run_batch(range_of(2_000), Fallback([first, second]), concurrency=10)
    assert result.succeeded == 2_000
    assert result.wall_time <= 1.1 * 2_000 / 10 + 30
    assert second.between(now + 10, now + 90) > 600
    assert first.between(now + 130, now + 150) > 100


async def test_a_pool_waits_and_then_says_so() -> None:
    """Callers wait for the outage to end; once it is given up, none waits, and one tries."""
    now = anyio.current_time()
    net = Net(now + 2.5, now + 300.0)
    config = ProcessorConfig(max_workers=10, outage_after=60.0)
    answers: list[Any] = []
    async with open_pool(net, config=config) as pool:

        async def ask(number: int) -> None:
            answers.append(await pool.call_result(f"p{number}"))

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(ask, number)
        lost = [r for r in answers if not r.success]
        assert all(r.not_run or r.error_category == Category.CONNECTION for r in lost)
        assert any(isinstance(r.exception, ScopeParkedError) for r in lost)
        assert anyio.current_time() - now < 90
        await anyio.sleep(300)
        assert await pool.call("back?") == "back?"
        assert await pool.call("back!") == "back!"


async def test_a_user_s_own_exceptions_are_never_an_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hundred of them in a row pause nothing."""
    script = {f"p{i}": [Raise(OwnError("mine"))] for i in range(100)}
    config = ProcessorConfig(retry=RetryConfig(max_attempts=2, jitter=False))
    result = await run_batch(range_of(120), ScriptedStrategy(script), config=config)
    assert (result.failed, result.succeeded) == (100, 20)
    assert result.wall_time < 2.0
    assert not caplog.records


async def test_the_log_calls_an_outage_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    """Each pause with its length, and again when it grows; the summary names it."""
    caplog.set_level(logging.INFO, "batchllm")
    now = anyio.current_time()
    net = Net(now + 2.5, now + 32.5)
    result = await run_batch(range_of(100), net, concurrency=20)
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert lines[0].startswith("Endpoint not answering: the last 20 calls all failed")
    assert "or timeout, the last with: no network; calls pause" in lines[0]
    assert [line.split(" in ")[1].split(" (")[0] for line in lines[1:-1]] == [
        "2.0 s", "4.0 s", "8.0 s", "16.0 s",
    ]  # fmt: skip
    assert lines[-1].startswith("Endpoint answers again after ")
    assert not any("Rate limit" in line for line in lines)
    assert "endpoint that did not answer" in result.summary()
    assert result.stats["held_back"]["outage"] > 25
