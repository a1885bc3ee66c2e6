"""Gates that keep one quota together, in virtual time: a store in memory, any number of runs."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from attrs import define, field

from batchllm import ConfigError, llm, open_pool, run_batch
from batchllm.policy import Lease, LeaseRequest, Limit
from batchllm.shared import GateUnreachableError, MemoryLeases, SharedGate
from batchllm.simulator import Simulator, SimulatorTransport, parse_scenario
from tests.policy.lease_workers import most_in_any_window

pytestmark = pytest.mark.anyio


def in_memory() -> MemoryLeases:
    return MemoryLeases(clock=anyio.current_time)


@define(eq=False)
class Calls:
    """Writes down when each call starts."""

    seconds: float = 1.0
    started: list[float] = field(factory=list)

    async def __call__(self, prompt: str) -> str:
        self.started.append(anyio.current_time())
        await anyio.sleep(self.seconds)
        return "done"


@define(eq=False)
class Flaky:
    """A store that can be cut off."""

    store: MemoryLeases
    cut: bool = False
    asked: int = 0

    async def lease(self, request: LeaseRequest) -> Lease:
        self.asked += 1
        if self.cut:
            msg = "the line is cut"
            raise GateUnreachableError(msg)
        return await self.store.lease(request)


async def test_four_runs_use_one_quota_to_the_brim_and_never_exceed_it() -> None:
    store, calls = in_memory(), Calls()

    async def one(number: int) -> None:
        gate = SharedGate(store, requests_per_minute=1_200)
        ended = await run_batch(
            [f"{number} {each}" for each in range(300)], calls, gate=gate, concurrency=100
        )
        assert ended.succeeded == 300
        assert ended.stats["limited_by"] == (
            "the quota of 1,200 requests per minute, shared with other processes"
        )

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(one, number)
    took = max(calls.started) - min(calls.started)
    assert len(calls.started) == 1_200
    assert took < 60 / 0.96
    assert most_in_any_window([(at, 1) for at in calls.started], 60.0) <= 1_200


async def test_tokens_are_leased_for_each_call_and_what_is_left_goes_back() -> None:
    store = in_memory()
    simulator = Simulator(parse_scenario("quota?rpm=6000&tpm=60000&headers=false"), seed=3)

    async def one(number: int) -> None:
        gate = SharedGate(store, tokens_per_minute=60_000, requests_per_minute=6_000)
        strategy = llm("sim:default", http=SimulatorTransport(simulator), max_tokens=100)
        prompts = [f"{number} {each} " + "word " * (each % 60) for each in range(60)]
        ended = await run_batch(prompts, strategy, gate=gate, concurrency=20)
        assert ended.succeeded == 60

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(one, number)
    assert sum(entry.outcome == "refused" for entry in simulator.log.entries) == 0


async def test_a_worker_that_is_cancelled_leaves_its_share_to_the_others() -> None:
    store, calls, victim = in_memory(), Calls(), Calls()
    async with anyio.create_task_group() as group:
        with anyio.move_on_after(5):
            items = [str(each) for each in range(1_000)]
            group.start_soon(_run, store, calls, 400)
            gate = SharedGate(store, requests_per_minute=1_200)
            await run_batch(items, victim, gate=gate, concurrency=100)
    both = [*calls.started, *victim.started]
    assert len(calls.started) == 400
    assert most_in_any_window([(at, 1) for at in both], 60.0) <= 1_200
    assert max(calls.started) - min(calls.started) < 30


async def _run(store: Any, calls: Calls, count: int) -> None:
    items = [f"item {each}" for each in range(count)]
    gate = SharedGate(store, requests_per_minute=1_200)
    await run_batch(items, calls, gate=gate, concurrency=100)


async def test_without_its_authority_no_call_starts_and_the_summary_says_so() -> None:
    store, calls = Flaky(in_memory()), Calls(0.1)
    gate = SharedGate(store, requests_per_minute=600)
    async with anyio.create_task_group() as group:

        async def cut_off() -> None:
            await anyio.sleep(5)
            store.cut = True
            asked = store.asked
            await anyio.sleep(2)
            before = len(calls.started)
            await anyio.sleep(60)
            assert len(calls.started) == before
            assert gate.unreachable == "the line is cut"
            assert store.asked - asked < 60
            store.cut = False

        group.start_soon(cut_off)
        items = [str(each) for each in range(100)]
        ended = await run_batch(items, calls, gate=gate, concurrency=50)
        assert ended.succeeded == 100
        limited_by = ended.stats["limited_by"]
        assert limited_by.startswith("a shared gate that could not be reached, for ")
        assert "could not be reached" in ended.summary()
    assert gate.unreachable is None


async def test_an_authority_that_never_answers_ends_the_run_with_the_reason() -> None:
    store = Flaky(in_memory(), cut=True)
    with pytest.raises(GateUnreachableError, match="the line is cut"):
        await run_batch(["a"], Calls(), gate=SharedGate(store, requests_per_minute=60))


async def test_an_authority_that_starts_late_is_waited_for() -> None:
    store, calls = Flaky(in_memory(), cut=True), Calls()
    async with anyio.create_task_group() as group:

        async def start() -> None:
            await anyio.sleep(10)
            store.cut = False

        group.start_soon(start)
        ended = await run_batch(["a"], calls, gate=SharedGate(store, requests_per_minute=60))
        assert ended.succeeded == 1


async def test_other_limits_than_those_at_work_are_an_error_of_the_run() -> None:
    store = in_memory()
    async with SharedGate(store, requests_per_minute=600):
        with pytest.raises(ConfigError, match="declares 900 requests"):
            await run_batch(["a"], Calls(), gate=SharedGate(store, requests_per_minute=900))


async def test_a_block_that_raises_raises_that_and_no_group() -> None:
    with pytest.raises(KeyError) as raised:
        async with SharedGate(in_memory(), requests_per_minute=600):
            raise KeyError
    assert raised.value.__context__ is None


async def test_a_pool_and_runs_use_one_gate_object_side_by_side() -> None:
    calls = Calls(0.1)
    gate = SharedGate(in_memory(), requests_per_minute=600)
    async with gate, open_pool(calls, gate=gate) as pool:
        for _ in range(3):
            ended = await run_batch(["a", "b"], calls, gate=gate)
            assert ended.succeeded == 2
            assert await pool.call("c") == "done"
    assert len(calls.started) == 9


async def test_a_refusal_closes_for_all_and_one_canary_goes_first() -> None:
    store = in_memory()
    simulator = Simulator(parse_scenario("quota?rpm=300&burst=10&headers=false"), seed=1)

    async def one(number: int) -> None:
        # Declared far above what the server takes, as if another program used the same key.
        gate = SharedGate(store, requests_per_minute=3_000)
        strategy = llm("sim:default", http=SimulatorTransport(simulator))
        prompts = [f"{number} {each}" for each in range(60)]
        ended = await run_batch(prompts, strategy, gate=gate, concurrency=20)
        assert ended.succeeded == 60

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(one, number)
    log = simulator.log.entries
    assert sum(entry.outcome == "ok" for entry in log) == 180
    assert sum(entry.outcome == "refused" for entry in log) < 100


async def test_a_limit_that_the_server_reports_to_one_holds_for_all() -> None:
    store = in_memory()
    simulator = Simulator(parse_scenario("quota?rpm=600"), seed=1)
    limits: list[tuple[Limit, ...]] = []

    async def one(number: int) -> None:
        gate = SharedGate(store)
        strategy = llm("sim:default", http=SimulatorTransport(simulator))
        await anyio.sleep(number * 5.0)
        ended = await run_batch(
            [f"{number} {each}" for each in range(80)], strategy, gate=gate, concurrency=5
        )
        assert ended.succeeded == 80
        limits.append(gate.snapshot().limits)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(one, number)
    for each in limits:
        assert any((one.dimension, one.amount, one.per) == ("requests", 600, 60.0) for one in each)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"store": "redis://x"}, "SharedGate.store=.* is 'redis://x'"),
        ({"store": 7}, "SharedGate.store=.* is 7"),
        ({"store": "sqlite:"}, "SharedGate.store"),
        ({"store": MemoryLeases(), "hold": 0}, "hold.* is 0"),
        ({"store": MemoryLeases(), "requests_per_minute": -1}, "^SharedGate.requests_per_minute"),
        ({"store": MemoryLeases(), "limits": "many"}, "limits"),
        ({"store": MemoryLeases(), "limits": 5}, "limits"),
        ({"store": MemoryLeases(), "park_after": "long"}, "park_after"),
        ({"store": "http://127.0.0.1:1"}, "BATCHLLM_GATE_SECRET"),
    ],
)
def test_a_wrong_argument_is_named(
    given: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BATCHLLM_GATE_SECRET", raising=False)
    with pytest.raises(ConfigError, match=named):
        SharedGate(**given)


def test_slots_of_short_windows_are_held_for_a_short_time() -> None:
    gate = SharedGate(MemoryLeases(), limits=[Limit("requests", 10, per=1.0)])
    assert gate._bucket._quota.hold == 0.05
