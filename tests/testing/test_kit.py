"""The kit that users test with does what it says."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given, settings

from batchllm.api import run_batch
from batchllm.core import (
    Outcome,
    ProcessingEvent,
    ProcessorConfig,
    ProviderError,
    QuotaScope,
    RateLimitConfig,
    RetryConfig,
    normalize_usage,
)
from batchllm.llm_strategies import CallableStrategy
from batchllm.testing import (
    Answer,
    Hang,
    Leak,
    LeaveScopeOpen,
    MockAgent,
    Raise,
    RecordingObserver,
    Return,
    ScriptedStrategy,
    Step,
    play,
    run_inline,
    virtual_run,
)
from batchllm.testing.strategies import (
    TraceEvent,
    configs,
    faults,
    rate_limit_configs,
    retry_configs,
    traces,
)
from tests.examples import examples

pytestmark = pytest.mark.anyio


async def test_mock_agent() -> None:
    """It answers by the factory, after its latency, and tells what it took."""
    agent = MockAgent(response_factory=str.upper, latency=0.5, input_tokens=7)
    run = await agent.run("hello", message_history=[])
    assert run.output == "HELLO"
    assert anyio.current_time() == 0.5
    assert normalize_usage(run.usage()) == {
        "input_tokens": 7,
        "output_tokens": 50,
        "total_tokens": 57,
    }
    assert (agent.prompts, agent.call_count) == (["hello"], 1)
    assert (await MockAgent().run("hi")).output == "Mock response to: hi"


async def test_mock_agent_fails_as_told() -> None:
    """The call of that number is refused, or takes too long; the others are not."""
    agent = MockAgent(rate_limit_on_call=2, timeout_on_call=3)
    await agent.run("one")
    with pytest.raises(ProviderError, match="rate limit") as caught:
        await agent.run("two")
    assert caught.value.status == 429
    with pytest.raises(TimeoutError, match="call 3"):
        await agent.run("three")
    await agent.run("four")


@pytest.mark.parametrize(
    ("step", "value"),
    [(Answer("x", after=1.0), ("x", None)), (Answer(), ("prompt", None)), (Return(7, 1.0), 7)],
)
async def test_steps_that_return(step: Step, value: Any) -> None:
    """An answer is a pair, a return is as it is; both take their time."""
    assert await play(step, "prompt") == value
    assert anyio.current_time() == getattr(step, "after", 0.0)


async def test_steps_that_do_not() -> None:
    """Errors are raised as they are or made anew; a leak is a real cancellation."""
    error = ValueError("it")
    with pytest.raises(ValueError, match="it") as caught:
        await play(Raise(error))
    assert caught.value is error
    with pytest.raises(KeyError):
        await play(Raise(KeyError))
    with pytest.raises(anyio.get_cancelled_exc_class()):
        await play(Leak())
    with anyio.move_on_after(1.0) as scope:
        await play(Hang())
    assert scope.cancelled_caught
    with anyio.move_on_after(1.0) as scope:
        swallowed = await play(Hang(Answer("swallowed", after=1.0)))
    assert swallowed == ("swallowed", None)
    assert not scope.cancelled_caught


def test_leave_scope_open() -> None:
    """It breaks the rule that it is there to break."""

    async def main() -> None:
        with anyio.CancelScope():
            await play(LeaveScopeOpen())

    with pytest.raises(RuntimeError):
        virtual_run(main, backend="asyncio")


async def test_scripts_per_item_and_per_call() -> None:
    """Each item goes through the steps by itself, or all of them share one sequence."""
    steps = [Raise(ValueError), Answer("second"), Answer("third")]
    items = ["a", "b"]
    own = await run_batch(items, ScriptedStrategy(steps), concurrency=1)
    assert own.outputs == ["second", "second"]
    shared = await run_batch(items, ScriptedStrategy(steps, per_call=True), concurrency=1)
    assert sorted(map(str, shared.outputs)) == ["second", "third"]
    by_prompt = ScriptedStrategy({"a": steps}, scope=QuotaScope("mine"))
    mapped = await run_batch(items, by_prompt)
    assert mapped.outputs == ["second", "b"]
    assert by_prompt.quota_scope == QuotaScope("mine")


async def test_what_a_scripted_strategy_remembers() -> None:
    """Starts, ends, errors, the most in flight, prepared and cleaned up."""
    error = TypeError("no")
    strategy = ScriptedStrategy({"b": Raise(error, after=2.0), "a": Answer(after=1.0)})
    await run_batch(["a", "b"], strategy)
    calls = {call.prompt: call for call in strategy.calls}
    assert (calls["a"].started, calls["a"].ended, calls["a"].error) == (0.0, 1.0, None)
    assert (calls["b"].ended, calls["b"].error) == (2.0, error)
    assert (strategy.most_in_flight, strategy.in_flight) == (2, 0)
    assert strategy.errors == [(error, 1)]
    assert (strategy.prepared, strategy.cleaned) == (1, 1)


async def test_recording_observer() -> None:
    """Every event in order, as a whole, by kind and by item."""
    observer = RecordingObserver()
    await run_batch([("a", "p")], ScriptedStrategy(), observers=[observer])
    event = ProcessingEvent
    assert observer.of_item("a") == [event.ITEM_STARTED, event.ITEM_COMPLETED]
    assert observer.names == [
        event.PROCESSING_STARTED,
        *observer.of_item("a"),
        event.PROCESSING_COMPLETED,
    ]
    assert [data["item_id"] for data in observer.of(event.ITEM_COMPLETED)] == ["a"]


async def test_run_inline() -> None:
    """A sync function in virtual time, where a thread would let the clock run away."""
    strategy = CallableStrategy(str.upper, run_sync=run_inline)
    config = ProcessorConfig(attempt_timeout=0.001)
    result = await run_batch(["a", "b"], strategy, config=config)
    assert result.outputs == ["A", "B"]


@settings(max_examples=examples(30))
@given(faults(), faults(hang=False), configs(), retry_configs(), rate_limit_configs(), traces())
def test_hypothesis_strategies(
    any_fault: Step,
    short: Step,
    config: ProcessorConfig,
    retry: RetryConfig,
    limit: RateLimitConfig,
    trace: list[TraceEvent],
) -> None:
    """All that they give is valid, and of the kind that they promise."""
    assert isinstance(any_fault, Step)
    assert not isinstance(short, Hang)
    assert config.timeout_per_item is not None
    assert retry.max_attempts >= 1
    assert limit.cooldown_seconds >= 0
    assert all(event.after >= 0 and isinstance(event.outcome, Outcome) for event in trace)
