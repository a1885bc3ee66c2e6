"""The readme's samples: features that every strategy shares."""

from itertools import pairwise
from typing import Any

import anyio
import pytest

from batchllm import (
    LLMWorkItem,
    ParallelBatchProcessor,
    ProcessorConfig,
    RateLimitConfig,
    from_callable,
)
from batchllm.testing import Answer, Raise, ScriptedStrategy
from tests.seeds.harness import README, process, refused, sample

pytestmark = pytest.mark.anyio


@sample(4, "Automatic Retry Logic", of=README)
async def test_automatic_retry_logic() -> None:
    """Three attempts, with waits of one and two seconds of which jitter takes at most half."""
    from batchllm.core import RetryConfig

    config = ProcessorConfig(
        max_workers=5,
        timeout_per_item=30.0,
        retry=RetryConfig(
            max_attempts=3,
            initial_wait=1.0,
            exponential_base=2.0,
            jitter=True,
        ),
    )

    strategy = ScriptedStrategy(Raise(ConnectionError))
    result = await process(strategy, "p", config=config)

    first, second, third = (call.started for call in strategy.calls)
    assert [call.attempt for call in strategy.calls] == [1, 2, 3]
    assert 0.5 <= second - first <= 1.0
    assert 1.0 <= third - second <= 2.0
    assert (result.failed, result.results[0].attempts) == (1, 3)
    assert result.results[0].error == "ConnectionError – after 3 attempts"


@sample(5, "Rate Limiting", of=README)
async def test_rate_limiting(caplog: pytest.LogCaptureFixture) -> None:
    """One refused call pauses every worker, twice as long the second time; then a slow start."""
    from batchllm.core import RateLimitConfig

    config = ProcessorConfig(
        rate_limit=RateLimitConfig(
            cooldown_seconds=60.0,
            backoff_multiplier=2.0,
            slow_start_items=50,
            slow_start_initial_delay=2.0,
            slow_start_final_delay=0.1,
        ),
    )

    steps = [Raise(refused()), *[Answer("ok", after=0.5)] * 4, Raise(refused()), Answer("ok")]
    strategy = ScriptedStrategy(steps, per_call=True)
    result = await process(strategy, *map(str, range(30)), config=config)

    starts = [call.started for call in strategy.calls]
    assert result.succeeded == 30
    pauses = [b - a for a, b in pairwise(starts) if b - a > 20]
    assert [round(pause) for pause in pauses] == [60, 120]
    after = starts[6:]
    gaps = [b - a for a, b in pairwise(after)]
    assert gaps[0] == pytest.approx(2.0, abs=0.2)
    assert gaps == sorted(gaps, reverse=True), "each delay is shorter than the one before"
    assert "Rate limit detected" in caplog.text


@sample(6, "Middleware & Observers: middleware", "strategy", of=README)
async def test_middleware() -> None:
    """`before_process` returns the item, `after_process(work_item, result)`, `on_error`."""
    from batchllm import BaseMiddleware

    told: list[str] = []

    class LoggingMiddleware(BaseMiddleware):
        async def before_process(self, work_item):
            told.append(f"start {work_item.item_id}")
            return work_item

        async def after_process(self, work_item, result):
            told.append(f"end {work_item.item_id}: {result.success}")
            return result

        async def on_error(self, work_item, error):
            told.append(f"failed {work_item.item_id}: {error}")

    good = ScriptedStrategy(Answer("fine"))
    result = await process(good, "p", middlewares=[LoggingMiddleware()])
    assert told == ["start item_0", "end item_0: True"]
    assert result.results[0].output == "fine"

    told.clear()
    flaky = ScriptedStrategy([Raise(ConnectionError("first")), Raise(TypeError("last"))])
    result = await process(flaky, "p", middlewares=[LoggingMiddleware()])
    assert told == ["start item_0", "failed item_0: last", "end item_0: False"]
    assert result.failed == 1


@sample(7, "Middleware & Observers: observers", "`LoggingMiddleware`, strategy", of=README)
async def test_observers() -> None:
    """Events with the keys that the sample reads, and metrics, without a context manager."""
    from batchllm import BaseMiddleware, BaseObserver, MetricsObserver, ProcessingEvent

    lines: list[str] = []

    class LoggingMiddleware(BaseMiddleware):
        pass

    class CustomObserver(BaseObserver):
        async def on_event(self, event: ProcessingEvent, data: dict):
            if event == ProcessingEvent.ITEM_COMPLETED:
                lines.append(f"completed {data['item_id']}")
            elif event == ProcessingEvent.RATE_LIMIT_HIT:
                lines.append(f"limit at {data['timestamp']}")

    metrics = MetricsObserver()
    config = ProcessorConfig(max_workers=1)

    processor = ParallelBatchProcessor(
        config=config,
        middlewares=[LoggingMiddleware()],
        observers=[metrics, CustomObserver()],
    )

    steps = [Answer("ok", after=1.0), Raise(refused()), Answer("ok", after=2.0), Raise(TypeError)]
    strategy = ScriptedStrategy(steps, per_call=True)
    for n in range(3):
        await processor.add_work(LLMWorkItem(item_id=f"{n}", strategy=strategy, prompt="p"))
    result = await processor.process_all()
    collected_metrics = await metrics.get_metrics()
    await processor.cleanup()

    assert (result.succeeded, result.failed) == (2, 1)
    assert collected_metrics["total_items"] == 3
    assert collected_metrics["successful"] == 2
    assert collected_metrics["failed"] == 1
    assert collected_metrics["avg_duration"] >= 1.0
    assert [line.split()[0] for line in lines] == ["completed", "limit", "completed"]
    assert float(lines[1].removeprefix("limit at ")) > 1_000_000_000, "seconds since 1970"


@sample(8, "Middleware & Observers: progress callbacks", "strategy", of=README)
async def test_progress_callbacks() -> None:
    """The callback is told completed, total and the item, once per item."""
    lines: list[str] = []

    def progress_callback(completed: int, total: int, current_item: str):
        lines.append(f"{completed}/{total} ({100 * completed / total:.1f}%) - {current_item}")

    config = ProcessorConfig(
        progress_callback=progress_callback,
        progress_callback_timeout=5.0,
    )

    await process(ScriptedStrategy(Answer("ok")), "p", "q", "r", "s", config=config)

    assert [line.split(" - ")[0] for line in lines] == [
        "1/4 (25.0%)",
        "2/4 (50.0%)",
        "3/4 (75.0%)",
        "4/4 (100.0%)",
    ]
    assert {line.split(" - ")[1] for line in lines} == {f"item_{n}" for n in range(4)}


async def cached_batch() -> ParallelBatchProcessor[str, str, None]:
    async def answer(prompt: str) -> Any:
        usage = {"input_tokens": 5_000, "output_tokens": 10, "cached_input_tokens": 4_500}
        return prompt, usage

    strategy = from_callable(answer)
    processor: ParallelBatchProcessor[str, str, None] = ParallelBatchProcessor()
    for n in range(10):
        await processor.add_work(LLMWorkItem(f"item_{n}", strategy, "p"))
    return processor


@sample(9, "Token Tracking", "processor with ten items", of=README)
async def test_token_tracking() -> None:
    """The sums, and what the cache saved, in the numbers that the readme works out."""
    processor = await cached_batch()

    result = await processor.process_all()

    lines = [
        f"{result.total_input_tokens}",
        f"{result.total_output_tokens}",
        f"{result.total_cached_tokens}",
        f"{result.cache_hit_rate():.1f}%",
        f"{result.effective_input_tokens()} tokens",
    ]
    await processor.cleanup()
    assert lines == ["50000", "100", "45000", "90.0%", "9500 tokens"]


async def test_a_rate_limit_is_an_event_once_per_pause() -> None:
    """However many calls are refused together, the scope pauses once, and is said to once."""
    from batchllm import BaseObserver, ProcessingEvent

    seen: list[ProcessingEvent] = []

    class Listener(BaseObserver):
        async def on_event(self, event: ProcessingEvent, data: dict):
            seen.append(event)

    steps = [*[Raise(refused(), after=1.0)] * 5, Answer("ok")]
    config = ProcessorConfig(max_workers=5, rate_limit=RateLimitConfig(cooldown_seconds=30.0))
    strategy = ScriptedStrategy(steps, per_call=True)
    started = anyio.current_time()
    result = await process(strategy, *map(str, range(5)), config=config, observers=[Listener()])
    assert result.succeeded == 5
    assert anyio.current_time() - started >= 31.0
    assert seen.count(ProcessingEvent.RATE_LIMIT_HIT) == 1
    assert seen[0] is ProcessingEvent.PROCESSING_STARTED
    assert seen[-1] is ProcessingEvent.PROCESSING_COMPLETED
    assert seen.count(ProcessingEvent.ITEM_STARTED) == 5
    assert seen.count(ProcessingEvent.ITEM_COMPLETED) == 5
