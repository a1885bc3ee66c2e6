"""Composites call others through ``state.call``: each call is a guarded call of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import (
    Category,
    LLMCallStrategy,
    ProcessorConfig,
    ProgramError,
    ProviderError,
    QuotaScope,
    RetryConfig,
    RetryState,
)
from batchllm.gate import Gate
from batchllm.llm_strategies import ResponseCache
from batchllm.testing import Answer, Hang, Raise, ScriptedStrategy, virtual_run

pytestmark = pytest.mark.anyio

ONE = ProcessorConfig(max_workers=1, retry=RetryConfig(max_attempts=1))
Body = Callable[[RetryState, Any, int, float], Awaitable[Any]]


class Composite(LLMCallStrategy[Any]):
    """Does what a function says."""

    quota_scope: QuotaScope | None = None

    def __init__(self, body: Body, *parts: LLMCallStrategy[Any]) -> None:
        self.body, self.parts = body, parts

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState
    ) -> tuple[Any, Any]:
        answer: tuple[Any, Any] = await self.body(state, prompt, attempt, timeout)
        return answer


def passing(inner: LLMCallStrategy[Any], **timeouts: float) -> Composite:
    async def body(state: RetryState, prompt: Any, attempt: int, timeout: float) -> Any:
        return await state.call(inner, prompt, attempt, timeouts.get("timeout", timeout))

    return Composite(body, inner)


async def test_nesting_at_one_worker() -> None:
    """However deep, no call waits for a permit that one round it holds."""
    leaf = ScriptedStrategy(Answer("ok", after=1.0))
    deep: LLMCallStrategy[Any] = leaf
    for _ in range(5):
        deep = passing(deep)
    result = await run_batch(["a", "b", "c"], deep, config=ONE)
    assert result.outputs == ["ok"] * 3
    assert leaf.most_in_flight == 1
    assert (leaf.prepared, leaf.cleaned) == (1, 1)


async def test_own_scope_for_each_part() -> None:
    """An inner call is admitted in its own scope; one that is full does not hold the other."""
    slow_scope, fast_scope = QuotaScope("slow"), QuotaScope("fast")
    slow = ScriptedStrategy(Answer("slow", after=10.0), scope=slow_scope)
    fast = ScriptedStrategy(Answer("fast", after=1.0), scope=fast_scope)

    async def body(state: RetryState, prompt: Any, attempt: int, timeout: float) -> Any:
        return await state.call(slow if prompt == "s" else fast, prompt, attempt, timeout)

    gate = Gate(calls=1, scope=slow_scope)
    result = await run_batch(
        ["s"] * 3 + ["f"] * 3, Composite(body, slow, fast), concurrency=6, gate=gate
    )
    assert slow.most_in_flight == 1
    assert fast.most_in_flight == 3
    assert [r.output for r in result.results][:3] == ["fast"] * 3


async def test_usage_of_losers_is_booked() -> None:
    """All that was called is billed to the item, also what was thrown away."""
    usage = {"input_tokens": 3, "output_tokens": 1}
    leaf = ScriptedStrategy(Answer("x", usage=usage))

    async def body(state: RetryState, prompt: Any, attempt: int, timeout: float) -> Any:
        for _ in range(3):
            reply = await state.call(leaf, prompt, attempt, timeout)
        return reply.output, None

    result = await run_batch(["a"], Composite(body, leaf), config=ONE)
    assert result.results[0].token_usage["total_tokens"] == 12


async def test_error_passes_as_it_is() -> None:
    """An error of the inner strategy comes out of ``state.call``, and keeps its meaning."""
    leaf = ScriptedStrategy(Raise(lambda: ProviderError("no key", status=401)))
    result = await run_batch(["a"], passing(leaf), config=ONE)
    assert result.results[0].error_category == Category.AUTHENTICATION
    assert len(leaf.errors) == 1


async def test_error_is_not_judged_twice() -> None:
    """A failure that the inner's own classifier judged is not judged anew for the composite."""
    from batchllm.core import ErrorClassifier, ErrorInfo

    class Own(ErrorClassifier):
        def classify(self, exception: BaseException) -> ErrorInfo | None:
            return ErrorInfo(False, False, False, "as only I know")

    leaf = ScriptedStrategy(Raise(ConnectionError))
    leaf.error_classifier = Own()  # type: ignore[attr-defined]
    result = await run_batch(["a"], passing(leaf), config=ProcessorConfig())
    assert result.results[0].error_category == "as only I know"
    assert len(leaf.calls) == 1


async def test_composite_can_handle_it() -> None:
    """A fallback: the first fails, the second answers, and the item has one result."""
    first, second = ScriptedStrategy(Raise(ConnectionError)), ScriptedStrategy(Answer("second"))

    async def body(state: RetryState, prompt: Any, attempt: int, timeout: float) -> Any:
        try:
            return await state.call(first, prompt, attempt, timeout)
        except ConnectionError:
            return await state.call(second, prompt, attempt, timeout)

    result = await run_batch(["a"], Composite(body, first, second), config=ONE)
    assert result.outputs == ["second"]


async def test_timeout_of_one_inner_call() -> None:
    """Its own timeout bounds it; what the item has left does so, too."""
    leaf = ScriptedStrategy(Hang())
    batch = await run_batch(["a"], passing(leaf, timeout=2.0), config=ONE)
    assert batch.wall_time == 2.0
    assert batch.results[0].error_category == Category.TIMEOUT
    assert leaf.calls[0].timeout == 2.0
    config = ProcessorConfig(timeout_per_item=5.0, retry=RetryConfig(max_attempts=1))
    assert (await run_batch(["a"], passing(leaf, timeout=99.0), config=config)).wall_time == 5.0


@pytest.mark.parametrize("wins", [True, False])
async def test_concurrent_inner_calls(wins: bool) -> None:
    """As a hedge does: the first answer wins, the other is cancelled and its permit returned."""
    answer = Answer("quick", after=1.0) if wins else Raise(ConnectionError, after=1.0)
    leaf = ScriptedStrategy([Hang(), answer], per_call=True)

    async def body(state: RetryState, prompt: Any, attempt: int, timeout: float) -> Any:
        won: list[Any] = []

        async def attempt_one() -> None:
            won.append(await state.call(leaf, prompt, attempt, timeout))
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(attempt_one)
            group.start_soon(attempt_one)
        return won[0]

    config = ProcessorConfig(max_workers=2, retry=RetryConfig(max_attempts=1))
    batch = await run_batch(["a"], Composite(body, leaf), config=config)
    assert batch.wall_time == 1.0
    assert batch.succeeded == wins
    assert batch.stats["in_flight"] == 0
    assert batch.results[0].timing.execution == 1.0


async def test_leaf_must_not_call_others() -> None:
    """One that holds a permit of its own would wait for itself: it is refused, and told why."""
    inner = ScriptedStrategy()
    leaf = passing(inner)
    leaf.quota_scope = QuotaScope()
    result = (await run_batch(["a"], leaf, config=ONE)).results[0]
    assert isinstance(result.exception, ProgramError)
    assert "set quota_scope = None on Composite" in str(result.error)
    assert inner.calls == []


async def test_stopped_inside() -> None:
    """A stop reaches the calls inside; the item says whether it may have been billed."""
    from batchllm.api import BatchRun
    from batchllm.engine import CANCEL

    leaf = ScriptedStrategy(Hang())
    run = BatchRun[Any]()

    async def stop() -> None:
        await anyio.sleep(1.0)
        run.stop(CANCEL)

    async with anyio.create_task_group() as group:
        group.start_soon(stop)
        result = await run_batch(["a"], passing(leaf), config=ONE, into=run)
    assert result.results[0].error_category == Category.CANCELLED


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_composite_leaves_a_scope_open(backend: Any) -> None:
    """A composite is held to the same rule as a leaf."""

    async def body(state: RetryState, prompt: Any, attempt: int, timeout: float) -> Any:
        anyio.CancelScope().__enter__()
        return "x", None

    with pytest.raises(ProgramError, match="left a cancel scope"):
        virtual_run(run_batch, ["a"], Composite(body), backend=backend)


async def test_made_by_hand() -> None:
    """A state that a unit test makes calls the inner strategy directly."""
    leaf = ScriptedStrategy(Answer("ok"))
    reply = await RetryState().call(leaf, "p", 1, 5.0)
    assert (reply.output, reply.usage, reply.metadata) == ("ok", None, None)


async def test_failures_of_its_own_use_up_the_attempts_of_a_composite() -> None:
    """A call that was lost in an outage excuses its own attempt, not those that follow it."""
    dead = Raise(ConnectionError("dead"), after=1.0)
    leaf = ScriptedStrategy([*[dead] * 31, Answer("back", after=1.0)], per_call=True)
    tried: dict[str, int] = {}

    async def body(state: RetryState, prompt: Any, attempt: int, timeout: float) -> Any:
        tried[prompt] = tried.get(prompt, 0) + 1
        if tried[prompt] == 1:
            return await state.call(leaf, prompt, attempt, timeout)
        if tried[prompt] > 100:
            msg = "it is tried again without end"
            raise ProgramError(msg)
        msg = "the composite's own"
        raise ConnectionError(msg)

    config = ProcessorConfig(max_workers=30, retry=RetryConfig(max_attempts=3))
    items = [f"p{number}" for number in range(200)]
    result = await run_batch(items, Composite(body, leaf), config=config)
    assert result.failed >= 20
    assert result.failed + result.succeeded == 200
    assert max(tried.values()) <= 4  # three that count, and one that the outage took


async def test_items_start_while_composites_wait_for_each_other() -> None:
    """Those that wait for the answer to the same prompt hold no call, and hold up no other item."""
    starts: dict[str, float] = {}
    begun = anyio.current_time()

    class Leaf(LLMCallStrategy[Any]):
        async def execute(self, prompt: Any, attempt: int, timeout: float) -> tuple[Any, Any]:
            starts[prompt] = anyio.current_time() - begun
            await anyio.sleep(3.0 if prompt == "p" else 0.05)
            return prompt, {}

    items = iter([*["p"] * 9, "q", "r", "s", "t"])
    config = ProcessorConfig(max_workers=5)
    result = await run_batch(items, ResponseCache(Leaf()), config=config)
    assert result.succeeded == 13
    assert starts["q"] == 0.0
    assert starts["t"] < 1.0
