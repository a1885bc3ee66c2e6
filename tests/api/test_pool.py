"""A pool is a run: it has the same events, limits on time and endings as a batch."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.to_thread
import pytest

from batchllm.api import Pool, open_pool
from batchllm.core import (
    Category,
    ClosedError,
    ConfigError,
    EndCause,
    LLMCallStrategy,
    PrepareError,
    ProcessingEvent,
    ProcessorConfig,
    ProviderError,
    WorkItemResult,
)
from batchllm.testing import Answer, Raise, RecordingObserver, ScriptedStrategy

pytestmark = pytest.mark.anyio

Event = ProcessingEvent


async def ask(pool: Pool[Any], results: list[WorkItemResult[Any, Any]]) -> None:
    results.append(await pool.call_result("p"))


def ends(seen: RecordingObserver) -> dict[str, Any]:
    """Return the end event, which is the last of all and comes once."""
    assert seen.names[0] is Event.PROCESSING_STARTED
    assert seen.names[-1] is Event.PROCESSING_COMPLETED
    (data,) = seen.of(Event.PROCESSING_COMPLETED)
    return data


async def test_observers_see_its_start_and_its_end() -> None:
    """Between them come the events of the calls, and the end has their sums."""
    seen = RecordingObserver()
    usage = {"input_tokens": 3, "output_tokens": 1}
    strategy = ScriptedStrategy({"bad": Raise(TypeError("no")), "good": Answer(usage=usage)})
    async with open_pool(strategy, observers=[seen]) as pool:
        assert await pool.call("good") == "good"
        await pool.call_result("bad")
    assert seen.of(Event.PROCESSING_STARTED)[0]["total"] is None
    assert seen.of_item("call-1") == [Event.ITEM_STARTED, Event.ITEM_COMPLETED]
    end = ends(seen)
    assert (end["total"], end["succeeded"], end["failed"]) == (2, 1, 1)
    assert end["termination"] == EndCause.DONE.value
    assert end["tokens"]["total_tokens"] == 4


async def test_calls_in_flight_have_drain_grace() -> None:
    """One that takes longer is cancelled, and may have been billed."""
    seen, results = RecordingObserver(), list[WorkItemResult[Any, Any]]()
    strategy = ScriptedStrategy({"p": Answer(after=100.0), "quick": Answer(after=3.0)})
    config = ProcessorConfig(drain_grace=5.0)
    began = anyio.current_time()
    async with anyio.create_task_group() as group:
        async with open_pool(strategy, config=config, observers=[seen]) as pool:
            group.start_soon(ask, pool, results)
            group.start_soon(pool.call, "quick")
            await anyio.sleep(1)
        assert anyio.current_time() - began == pytest.approx(6.0)
    assert results[0].error_category == Category.CANCELLED
    assert "maybe billed" in (results[0].error or "")
    assert ends(seen)["succeeded"] == 1
    assert strategy.cleaned == 1


async def test_a_call_that_waits_when_the_pool_closes_was_not_made() -> None:
    """It is stopped at once; nothing of it was sent."""
    results: list[WorkItemResult[Any, Any]] = []
    strategy = ScriptedStrategy(Answer(after=3.0))
    async with anyio.create_task_group() as group, open_pool(strategy, concurrency=1) as pool:
        group.start_soon(pool.call, "first")
        await anyio.sleep(1)
        group.start_soon(ask, pool, results)
        await anyio.sleep(1)
    assert results[0].error_category == Category.STOPPED
    assert strategy.prompts == ["first"]


async def test_batch_timeout_ends_it() -> None:
    """Its calls are cancelled then, and no further one is taken."""
    seen, results = RecordingObserver(), list[WorkItemResult[Any, Any]]()
    config = ProcessorConfig(batch_timeout=10.0)
    strategy = ScriptedStrategy(Answer(after=20.0))
    async with (
        anyio.create_task_group() as group,
        open_pool(strategy, config=config, observers=[seen]) as pool,
    ):
        group.start_soon(ask, pool, results)
        await anyio.sleep(11)
        assert results[0].error_category == Category.CANCELLED
        with pytest.raises(ClosedError, match="batch_timeout"):
            await pool.call("late")
    assert ends(seen)["termination"] == EndCause.BATCH_TIMEOUT.value


async def test_a_failed_prepare_ends_it_and_is_raised_by_the_block() -> None:
    """Callers learn that it has ended, with the reason as the cause."""
    seen = RecordingObserver()

    class Unready(ScriptedStrategy):
        async def prepare(self) -> None:
            raise OSError("no key file")

    with pytest.raises(PrepareError, match="no key file"):  # noqa: PT012
        async with open_pool(Unready(), observers=[seen]) as pool:
            for _ in range(2):
                with pytest.raises(ClosedError, match="no key file") as raised:
                    await pool.call("p")
                assert isinstance(raised.value.__cause__, PrepareError)
    assert ends(seen)["termination"] == EndCause.PREPARE_FAILED.value


async def test_what_protects_items_to_come_ends_no_pool() -> None:
    """A pool has none: each caller gets the error of its own call."""
    refused = Raise(lambda: ProviderError("no such key", status=401))
    strategy = ScriptedStrategy([*[refused] * 5, Answer()], per_call=True)
    async with open_pool(strategy) as pool:
        for _ in range(5):
            with pytest.raises(ProviderError, match="no such key"):
                await pool.call("p")
        assert await pool.call("p") == "p"


@pytest.mark.parametrize("how", ["cancelled", "raises"])
async def test_an_end_from_outside_cancels_its_calls(how: str) -> None:
    """The error of the block is raised as it was; callers in other tasks get their results."""
    results: list[WorkItemResult[Any, Any]] = []
    strategy = ScriptedStrategy(Answer(after=100.0))

    async def own(group: Any) -> None:
        async with open_pool(strategy) as pool:
            group.start_soon(ask, pool, results)
            await anyio.sleep(5)
            raise LookupError("mine")

    async with anyio.create_task_group() as group:
        if how == "raises":
            with pytest.raises(LookupError, match="mine"):
                await own(group)
        else:
            with anyio.move_on_after(4):
                await own(group)
    assert results[0].error_category == Category.CANCELLED
    assert ("LookupError: mine" in (results[0].error or "")) is (how == "raises")
    assert strategy.cleaned == 1


async def test_its_stats_have_its_room() -> None:
    """The calls inside, and how many there may be, come from the limiter that admits them."""
    async with (
        anyio.create_task_group() as group,
        open_pool(ScriptedStrategy(Answer(after=3.0)), concurrency=2, max_waiting=3) as pool,
    ):
        for _ in range(4):
            group.start_soon(pool.call_result, "p")
        await anyio.sleep(1)
        stats = pool.stats()
        assert (stats["inside"], stats["max_inside"]) == (4, 5)
        assert (stats["in_flight"], stats["waiting"]) == (2, 2)


async def test_a_strategy_is_refused_that_cannot_be_called() -> None:
    """Before the block begins."""

    class Odd(LLMCallStrategy[str]):
        async def execute(self, prompt: str) -> Any:  # type: ignore[override]
            return prompt, None

    with pytest.raises(Exception, match="cannot be called"):
        async with open_pool(Odd()):
            pytest.fail("entered")


@pytest.mark.parametrize("other", ["asyncio", "trio"])
def test_a_pool_serves_the_event_loop_that_opened_it(other: str) -> None:
    """A caller on another one, whose tasks nothing here could wake, is refused by name."""

    async def own() -> None:
        async with open_pool(ScriptedStrategy()) as pool:
            with pytest.raises(ConfigError, match="opened on another event loop"):
                await anyio.to_thread.run_sync(lambda: anyio.run(pool.call, "a", backend=other))
            assert await pool.call("b") == "b"

    for backend in ("asyncio", "trio"):
        anyio.run(own, backend=backend)
