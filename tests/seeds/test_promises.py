"""The promises of the text round the samples."""

import logging
from typing import Any

import anyio
import pytest
from attrs import evolve

from batchllm import (
    BaseMiddleware,
    BaseObserver,
    InvalidItemError,
    LLMCallStrategy,
    LLMWorkItem,
    ParallelBatchProcessor,
    ProcessingEvent,
    ProcessorConfig,
    RateLimitConfig,
    RetryConfig,
    RetryState,
    from_callable,
)
from batchllm.testing import Answer, Hang, Raise, ScriptedStrategy
from tests.seeds.harness import process, refused

pytestmark = pytest.mark.anyio


async def test_backoff_is_one_two_four_seconds() -> None:
    """Without jitter the waits before attempts 2, 3 and 4 are 1, 2 and 4 seconds."""
    strategy = ScriptedStrategy(Raise(ConnectionError))
    config = ProcessorConfig(retry=RetryConfig(max_attempts=4, jitter=False))
    began = anyio.current_time()
    await process(strategy, "p", config=config)
    assert [round(call.started - began, 6) for call in strategy.calls] == [0, 1, 3, 7]


async def test_on_error_hears_of_every_failed_attempt() -> None:
    """`on_error` is called for rate limits and for the last attempt, before what follows."""
    script = [Raise(refused()), Raise(ConnectionError("a")), Raise(ConnectionError("b"))]
    strategy = ScriptedStrategy(script)
    await process(strategy, "p", attempts=2)
    assert [(str(error), attempt) for error, attempt in strategy.errors] == [
        ("too many requests", 1),
        ("a", 1),
        ("b", 2),
    ]


async def test_bad_answers_are_asked_for_again_at_once() -> None:
    """A `ValueError` from `execute` is tried again without a wait, up to `max_attempts`."""
    strategy = ScriptedStrategy(Raise(ValueError("no JSON")))
    result = await process(strategy, "p")
    assert [call.started for call in strategy.calls] == [strategy.calls[0].started] * 3
    assert result.results[0].error == "ValueError: no JSON – after 3 attempts"
    assert result.results[0].error_category == "bad_output"


async def test_every_worker_pauses() -> None:
    """While a limit cools down no worker calls, whichever of them met it."""
    steps = [*[Answer("ok", after=1.0)] * 5, Raise(refused()), Answer("ok", after=1.0)]
    strategy = ScriptedStrategy(steps, per_call=True)
    config = ProcessorConfig(
        max_workers=5, rate_limit=RateLimitConfig(cooldown_seconds=60.0, slow_start_items=0)
    )
    result = await process(strategy, *map(str, range(40)), config=config)
    assert result.succeeded == 40
    hit = strategy.calls[5].ended
    assert not [call for call in strategy.calls if hit < call.started < hit + 60.0]


async def test_progress_is_logged_every_so_many_items(caplog: pytest.LogCaptureFixture) -> None:
    """Every `progress_interval` items there is a line at INFO."""
    with caplog.at_level(logging.INFO, "batchllm"):
        await process(
            ScriptedStrategy(), *map(str, range(25)), config=ProcessorConfig(progress_interval=10)
        )
    assert [m for m in caplog.messages if m.startswith("Progress")] == [
        "Progress: 10/25 items, 10 succeeded, 0 failed",
        "Progress: 20/25 items, 20 succeeded, 0 failed",
    ]


async def test_detailed_logging_tells_of_each_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """With `enable_detailed_logging` each attempt is a line at DEBUG, without it none is."""
    script = [Raise(refused(), after=1.0), Raise(ConnectionError("x")), Raise(TypeError("no"))]
    retry = RetryConfig(jitter=False)
    with caplog.at_level(logging.DEBUG, "batchllm"):
        config = ProcessorConfig(retry=retry, enable_detailed_logging=True)
        await process(ScriptedStrategy(script), "a secret prompt", config=config)
        lines = [r.message for r in caplog.records if r.levelno == logging.DEBUG]
        caplog.clear()
        await process(ScriptedStrategy(script), "p", config=ProcessorConfig(retry=retry))
    assert lines == [
        "Item item_0, attempt 1: failed in 1.00 s with ProviderError: too many requests "
        "(rate_limit), again when its limit allows it",
        "Item item_0, attempt 1: failed in 0.00 s with ConnectionError: x (connection), "
        "again in 1.00 s",
        "Item item_0, attempt 2: failed in 0.00 s with TypeError: no (program_error), "
        "no further attempt",
    ]
    assert not [r for r in caplog.records if r.levelno == logging.DEBUG]


async def test_a_progress_callback_may_be_async_and_is_bounded() -> None:
    """An async progress callback that hangs is cancelled after `progress_callback_timeout`."""
    told: list[tuple[int, int, str]] = []

    async def progress(completed: int, total: int, current_item: str) -> None:
        told.append((completed, total, current_item))
        await anyio.sleep(1000)

    config = ProcessorConfig(progress_callback=progress, progress_callback_timeout=5.0)
    began = anyio.current_time()
    result = await process(ScriptedStrategy(), "p", "q", config=config)
    assert [entry[:2] for entry in told] == [(1, 2), (2, 2)]
    assert anyio.current_time() - began == pytest.approx(5.0)
    assert result.succeeded == 2
    assert any("progress_callback took longer" in text for text in result.warnings)


class Marking(BaseMiddleware):
    """Writes down what it sees, and marks prompts and outputs."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name = name
        self.seen = seen

    async def before_process(self, work_item: Any) -> Any:
        self.seen.append(f"in {self.name}")
        work_item.prompt += self.name
        return work_item

    async def after_process(self, work_item: Any, result: Any) -> Any:
        self.seen.append(f"out {self.name}")
        return evolve(result, output=result.output + self.name)


async def test_middleware_is_an_onion() -> None:
    """Middleware goes in as registered and comes out in reverse; it may change what it sees."""
    seen: list[str] = []
    strategy = ScriptedStrategy()
    middlewares = [Marking("a", seen), Marking("b", seen)]
    result = await process(strategy, "p", middlewares=middlewares)
    assert seen == ["in a", "in b", "out b", "out a"]
    assert strategy.prompts == ["pab"]
    assert result.results[0].output == "pabba"


async def test_a_post_processor_that_fails_is_seen() -> None:
    """The error of a post-processor is in the result, which stays a success."""

    def broken(result: Any) -> None:
        raise OSError("disk full")

    result = await process(ScriptedStrategy(), "p", post_processor=broken)
    assert result.succeeded == 1
    assert result.results[0].metadata == {"notes": ("post_processor raised OSError: disk full",)}


async def test_a_post_processor_that_hangs_does_not_hang_the_batch() -> None:
    """Nor does a post-processor that never ends: `hook_timeout` bounds it."""

    async def hangs(result: Any) -> None:
        await anyio.sleep_forever()

    result = await process(ScriptedStrategy(), "p", "q", post_processor=hangs)
    assert result.succeeded == 2
    assert "took longer than hook_timeout" in result.results[0].metadata["notes"][0]


async def test_an_observer_that_fails_changes_nothing() -> None:
    """Observers watch only: one that raises is named in the warnings, the results stay."""

    class Broken(BaseObserver):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            raise KeyError("mine")

    result = await process(ScriptedStrategy(), "p", observers=[Broken()])
    assert result.succeeded == 1
    assert any("observer Broken raised" in text for text in result.warnings)


async def test_nothing_is_sent_before_processing() -> None:
    """`add_work` only collects, and a second batch goes on from the first one's numbers."""
    strategy = ScriptedStrategy(Answer("ok", after=1.0))
    async with ParallelBatchProcessor() as processor:
        await processor.add_work(LLMWorkItem("a", strategy, "p"))
        await anyio.sleep(60)
        assert strategy.calls == []
        first = await processor.process_all()
        await processor.add_work(LLMWorkItem("b", strategy, "q"))
        second = await processor.process_all()
        stats = await processor.get_stats()
    assert [r.item_id for r in first.results] == ["a"]
    assert [r.item_id for r in second.results] == ["b"]
    assert (stats["total"], stats["succeeded"], stats["duration"]) == (2, 2, pytest.approx(2.0))
    assert (strategy.prepared, strategy.cleaned) == (1, 1)


async def test_workers_and_work_change_while_a_batch_runs() -> None:
    """During a run work can be added, and `config.max_workers` takes effect at once."""
    strategy = ScriptedStrategy(Answer("ok", after=10.0))
    results: list[Any] = []

    async with ParallelBatchProcessor(
        config=ProcessorConfig(max_workers=4), strategy=strategy
    ) as processor:
        for n in range(40):
            await processor.add_work(LLMWorkItem(n, prompt="p"))

        async def run() -> None:
            results.append(await processor.process_all())

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await anyio.sleep(1)
            assert strategy.in_flight == 4
            processor.config.max_workers = 2
            group.start_soon(processor.add_work, LLMWorkItem("late", prompt="p"))
            await anyio.sleep(15)
            assert strategy.in_flight == 2
            processor.config.max_workers = 8
            await anyio.sleep(5)
            assert strategy.in_flight == 8
    assert results[0].succeeded == 41
    assert results[0].by_id()["late"].success


async def test_hooks_may_add_work_to_the_batch_that_calls_them() -> None:
    """A post-processor may add work for what comes next, however much is waiting already."""
    config = ProcessorConfig(max_workers=4)

    async def follow(result: Any) -> None:
        if result.item_id.startswith("first"):
            await processor.add_work(LLMWorkItem(f"next of {result.item_id}", prompt="p"))

    async with ParallelBatchProcessor(
        config=config, strategy=ScriptedStrategy(Answer("ok", after=1.0)), post_processor=follow
    ) as processor:
        for n in range(100):
            await processor.add_work(LLMWorkItem(f"first {n}", prompt="p"))
        result = await processor.process_all()
    assert result.succeeded == 200
    assert not any(r.metadata for r in result.results)
    assert result.wall_time == pytest.approx(50.0, abs=2.0)


async def test_a_full_queue_says_so() -> None:
    """With `max_queue_size=n` item n+1 is refused at once, by the setting's name."""
    async with ParallelBatchProcessor(
        ProcessorConfig(max_queue_size=2), strategy=ScriptedStrategy()
    ) as processor:
        await processor.add_work(LLMWorkItem("a", prompt="p"))
        await processor.add_work(LLMWorkItem("b", prompt="p"))
        with pytest.raises(InvalidItemError, match="max_queue_size"):
            await processor.add_work(LLMWorkItem("c", prompt="p"))
        assert (await processor.process_all()).succeeded == 2


async def test_cleanup_comes_on_every_path() -> None:
    """Resources are let go of once, also when the block is left by an exception."""
    strategy = ScriptedStrategy(Hang())

    async def leave_early() -> None:
        async with ParallelBatchProcessor(strategy=strategy) as processor:
            await processor.add_work(LLMWorkItem("a", prompt="p"))
            with anyio.move_on_after(5):
                await processor.process_all()
            raise LookupError

    with pytest.raises(LookupError):
        await leave_early()
    assert (strategy.prepared, strategy.cleaned) == (1, 1)


async def test_states_are_apart() -> None:
    """Each item has a state of its own, and of the same kind in `execute` and `on_error`."""
    mixed: list[str] = []

    class Strategy(LLMCallStrategy[str]):
        async def execute(
            self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
        ) -> Any:
            if state.get("prompt", prompt) != prompt:
                mixed.append(prompt)
            state.set("prompt", prompt)
            await anyio.sleep(0.01)
            if "heard" not in state:
                raise ValueError(prompt)
            state.delete("heard")
            state.delete("what was never there")
            return prompt, None

        async def on_error(
            self, exception: Exception, attempt: int, state: RetryState | None = None
        ) -> None:
            if state.get("prompt") != str(exception):
                mixed.append(str(exception))
            state.set("heard", True)

    result = await process(
        Strategy(), *(f"p{n}" for n in range(50)), config=ProcessorConfig(max_workers=20)
    )
    assert (result.succeeded, mixed) == (50, [])
    assert {r.attempts for r in result.results} == {2}


async def test_a_dry_run_can_be_ones_own() -> None:
    """An overridden `dry_run` stands in for the call; rate limits and retries are not met."""

    class Realistic(ScriptedStrategy):
        async def dry_run(self, prompt: str) -> Any:
            return {"title": prompt}, {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}

    strategy = Realistic(Raise(refused()))
    result = await process(strategy, "p", config=ProcessorConfig(dry_run=True))
    assert result.outputs == [{"title": "p"}]
    assert (result.total_input_tokens, strategy.calls) == (1, [])


async def test_tokens_of_failed_attempts_count() -> None:
    """Tokens that an exception carries as `_failed_token_usage` are in the sums."""

    async def answer(prompt: str) -> Any:
        error = ValueError("cannot be parsed")
        error._failed_token_usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        raise error

    result = await process(from_callable(answer), "p")
    assert result.failed == 1
    assert (result.total_input_tokens, result.total_output_tokens) == (30, 15)


async def test_cache_sums_of_a_batch_without_tokens() -> None:
    """Without any tokens the hit rate is 0, not an error."""
    result = await process(ScriptedStrategy(), "p")
    assert (result.cache_hit_rate(), result.effective_input_tokens()) == (0.0, 0)


async def test_item_events_have_the_keys_that_samples_read() -> None:
    """Failed items have an event, too, with what failed; each item has one of the two."""
    events: list[tuple[ProcessingEvent, dict[str, Any]]] = []

    class Listener(BaseObserver):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            events.append((event, data))

    strategy = ScriptedStrategy(
        {
            "good": Answer("ok", after=2.0, usage={"input_tokens": 3}),
            "bad": Raise(TypeError("no")),
        }
    )
    await process(strategy, "good", "bad", observers=[Listener()])
    by_event = dict(events)
    good, bad = by_event[ProcessingEvent.ITEM_COMPLETED], by_event[ProcessingEvent.ITEM_FAILED]
    assert (good["item_id"], good["duration"]) == ("item_0", pytest.approx(2.0))
    assert good["tokens"]["input_tokens"] == good["tokens"]["total_tokens"] == 3
    assert good["timestamp"] > 1_000_000_000
    assert (bad["item_id"], bad["error"]) == ("item_1", "TypeError: no")
    assert len(events) == 6
