"""One call for identical prompts."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from attrs import evolve

from batchllm.api import run_batch
from batchllm.core import ErrorClassifier, ErrorInfo, LLMWorkItem, Reply
from batchllm.llm_strategies import ModelEscalation, ResponseCache
from batchllm.testing import Answer, Hang, Raise, ScriptedStrategy
from tests.llm_strategies.world import PATIENT, refused, run, says, scripted

pytestmark = pytest.mark.anyio


async def test_identical_prompts_that_come_together_make_one_call() -> None:
    """A hundred items with one prompt are answered by one call, and billed for one."""
    inner = scripted("one", says("x", after=1.0))
    cache = ResponseCache(inner)
    batch = await run(cache, *["p"] * 100, concurrency=50)
    assert batch.outputs == ["x"] * 100
    assert len(inner.calls) == 1
    assert batch.total_input_tokens == 10
    assert (cache.hits, cache.misses) == (99, 1)
    assert sum(bool((r.metadata or {}).get("cached")) for r in batch.results) == 99


async def test_answers_outlive_a_run() -> None:
    """A second run asks only what is new."""
    inner = scripted("one", Answer())
    cache = ResponseCache(inner)
    await run(cache, "a", "b")
    assert (await run(cache, "b", "c")).outputs == ["b", "c"]
    assert sorted(inner.prompts) == ["a", "b", "c"]


async def test_prompts_of_other_shapes() -> None:
    """Messages are told apart by what they say; what has no form in JSON is never cached."""
    inner = scripted("one", says("x"))
    cache: ResponseCache[Any] = ResponseCache(inner)
    hello, bye = [{"role": "user", "content": "hello"}], [{"content": "bye", "role": "user"}]
    same = [{"content": "hello", "role": "user"}]
    await run_batch([hello, bye, same], cache, config=PATIENT)
    assert len(inner.calls) == 2
    odd = [{"type": "text", "text": object()}]
    await run_batch([odd, odd], cache, config=PATIENT)
    assert len(inner.calls) == 4


async def test_those_who_wait_share_a_failure_and_it_is_not_kept() -> None:
    """A failed call fails all who waited for it, each of whom may try again together."""
    inner = scripted("one", Raise(ConnectionError("lost"), after=1.0), says("x"), per_call=True)
    batch = await run(ResponseCache(inner), *["p"] * 20, concurrency=20)
    assert batch.outputs == ["x"] * 20
    assert len(inner.calls) == 2
    assert {result.attempts for result in batch.results} == {2}


async def test_after_an_answer_that_is_not_valid_each_asks_for_itself() -> None:
    """The lessons that an item drew from its bad answers are not used up by the others'."""
    cheap, strong = scripted("cheap", Raise(ValueError)), scripted("strong", says("x"))
    cache = ResponseCache(ModelEscalation([cheap, strong]))
    batch = await run(cache, *["p"] * 6, concurrency=6)
    assert batch.outputs == ["x"] * 6
    assert len(strong.calls) == 1
    assert max(result.attempts for result in batch.results) == 2


class ByOwnWord(ErrorClassifier):
    def classify(self, exception: Exception) -> ErrorInfo:
        return ErrorInfo(False, False, False, "a word of its own")


async def test_a_shared_failure_means_the_same_to_all() -> None:
    """Each of those who waited fails as if the call had been its own."""
    inner = scripted("one", refused(400))
    inner.error_classifier = ByOwnWord()  # type: ignore[attr-defined]
    batch = await run(ResponseCache(inner), *["p"] * 10, concurrency=10)
    assert {r.error_category for r in batch.results} == {"a word of its own"}
    assert {r.attempts for r in batch.results} == {1}
    assert len(inner.calls) == 1


async def test_when_the_first_one_is_cancelled_the_next_takes_over() -> None:
    """A caller that leaves does not take those with it who wait for its call."""
    inner = scripted("one", says("x", after=10.0), per_call=True)
    cache, outputs = ResponseCache(inner), list[Any]()

    async def ask() -> None:
        outputs.append((await cache.execute("p", 1, 60.0)).output)

    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as leaders:
            leaders.start_soon(ask)
            await anyio.sleep(1.0)
            for _ in range(5):
                tasks.start_soon(ask)
            await anyio.sleep(1.0)
            leaders.cancel_scope.cancel()
        await anyio.sleep(5.0)
        assert not outputs
    assert outputs == ["x"] * 5
    assert len(inner.calls) == 2


async def test_when_the_first_one_is_out_of_time_the_next_takes_over() -> None:
    """The time of one item is not that of the others."""
    inner = scripted("one", Hang(), says("x"), per_call=True)

    async def items() -> AsyncIterator[LLMWorkItem[Any, Any, Any]]:
        yield LLMWorkItem("hasty", None, "p", timeout=1.0)
        await anyio.sleep(0.5)
        yield LLMWorkItem("calm", None, "p")

    batch = await run_batch(items(), ResponseCache(inner), config=PATIENT)
    assert batch.by_id()["hasty"].error_category == "timeout"
    assert batch.by_id()["calm"].output == "x"


async def test_nobody_waits_longer_than_its_own_call_may_take() -> None:
    """An item that waited for another's call as long as its own may take makes its own."""
    inner = scripted("one", Hang(), says("x"), per_call=True)
    cache = ResponseCache(inner)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cache.execute, "p", 1, 60.0)
        await anyio.sleep(1.0)
        began = anyio.current_time()
        assert (await cache.execute("p", 1, 2.0)).output == "x"
        assert anyio.current_time() - began == 2.0
        tasks.cancel_scope.cancel()
    assert (cache.hits, cache.misses) == (0, 2)


async def test_a_batch_that_stops_leaves_nobody_waiting() -> None:
    """When the batch is cancelled all who wait end, and nothing of the call remains."""
    cache = ResponseCache(scripted("one", Hang()))
    config = evolve(PATIENT, batch_timeout=3.0)
    batch = await run(cache, *["p"] * 10, config=config, concurrency=10)
    assert batch.total_items == 10
    assert batch.succeeded == 0
    assert not cache._flights


async def test_memory_is_bounded() -> None:
    """Of the usual store the most recent 10,000 answers stay, by use."""
    inner = scripted("one", Answer())
    cache = ResponseCache(inner)
    store = cache.store
    for n in range(10_000):
        store[str(n)] = Reply(n, None, None)
    assert store.get("0") is not None
    store["new"] = Reply("new", None, None)
    assert len(store) == 10_000
    assert store.get("1") is None
    assert store.get("0") is not None


class Warm(ScriptedStrategy):
    """A strategy with a setting that changes its answers."""

    def __init__(self, answer: Any, temperature: float) -> None:
        super().__init__(answer)
        self.temperature = temperature


async def test_a_store_of_ones_own_is_shared_by_what_answers_alike() -> None:
    """Answers are kept by prompt and strategy, in any mapping."""
    store: dict[str, Reply] = {}
    first, again, other = (Warm(says(name), t) for name, t in (("a", 0.0), ("a", 0.0), ("b", 1.0)))
    assert (await run(ResponseCache(first, store))).outputs == ["a"]
    assert (await run(ResponseCache(again, store))).outputs == ["a"]
    assert (await run(ResponseCache(other, store))).outputs == ["b"]
    assert not again.calls
    assert len(store) == 2
