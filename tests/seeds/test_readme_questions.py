"""The readme's samples: troubleshooting, frequent questions, and testing."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from batchllm import (
    LLMCallStrategy,
    LLMWorkItem,
    ParallelBatchProcessor,
    ProcessorConfig,
    RetryConfig,
)
from batchllm.testing import Answer, Raise, ScriptedStrategy
from tests.seeds.harness import README, Client, asyncio_only, process, sample
from tests.seeds.test_custom_strategies import openai_strategy

pytestmark = pytest.mark.anyio


class Output(str):
    """The type of an output, by the name that the samples use."""


@contextmanager
def fresh_logging() -> Iterator[None]:
    """Let a sample configure logging, and undo it."""
    root, ours = logging.getLogger(), logging.getLogger("batchllm")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    root.handlers[:] = []
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])


@sample(46, "`Workers Hanging / Not Finishing`: debug steps", "strategy", of=README)
async def test_workers_hanging_debug_steps(capfd: pytest.CaptureFixture[str]) -> None:
    """With debug logging on, each attempt is a line, once detailed logging is asked for."""
    import logging

    with fresh_logging():
        logging.basicConfig(level=logging.DEBUG)

        strategy = ScriptedStrategy([Raise(ConnectionError("reset"), after=2.0), Answer("ok")])
        config = ProcessorConfig(enable_detailed_logging=True, retry=RetryConfig(jitter=False))
        await process(strategy, "p", config=config)
    lines = [line for line in capfd.readouterr().err.splitlines() if ":batchllm:" in line]
    assert lines == [
        "DEBUG:batchllm:Item item_0, attempt 1: failed in 2.00 s with ConnectionError: reset "
        "(connection), again in 1.00 s",
        "DEBUG:batchllm:Item item_0, attempt 2: answered in 0.00 s",
    ]


@asyncio_only
@sample(
    47,
    "`Workers Hanging / Not Finishing`: solutions",
    "`your_post_processor`, `logger`, strategy",
    of=README,
    loops="asyncio (the sample calls `asyncio.timeout`)",
)
async def test_workers_hanging_solutions(caplog: pytest.LogCaptureFixture) -> None:
    """A post-processor may bound itself; the progress callback is an argument, too."""
    logger = logging.getLogger("the sample")
    config = ProcessorConfig()
    lines: list[str] = []

    async def your_post_processor(result: Any) -> None:
        await anyio.sleep(20.0 if result.item_id == "hangs" else 1.0)

    async def safe_post_processor(result):
        try:
            async with asyncio.timeout(10.0):
                await your_post_processor(result)
        except asyncio.TimeoutError:
            logger.warning(f"too slow for {result.item_id}")

    def progress(completed, total, current):
        lines.append(f"{completed}/{total} {current}")

    processor = ParallelBatchProcessor(
        config=config,
        progress_callback=progress,
    )

    bounded = ParallelBatchProcessor(config=config, post_processor=safe_post_processor)
    for each in (processor, bounded):
        async with each:
            for name in ("fine", "hangs"):
                await each.add_work(LLMWorkItem(name, ScriptedStrategy(), "p"))
            result = await each.process_all()
            assert result.succeeded == 2
            assert not any(r.metadata for r in result.results)
    assert caplog.messages == ["too slow for hangs"]
    assert [line.split()[0] for line in lines] == ["1/2", "2/2"]
    assert sorted(line.split()[1] for line in lines) == ["fine", "hangs"]


@sample(
    48,
    "Slow Throughput",
    "`Output`, `logger`, the `base_strategy` that the class never takes",
    of=README,
)
async def test_slow_throughput(caplog: pytest.LogCaptureFixture) -> None:
    """A strategy round another one; ten workers are ten calls at once."""
    logger = logging.getLogger("the sample")
    config = ProcessorConfig(max_workers=10)

    import time

    class TimingStrategy(LLMCallStrategy[Output]):
        async def execute(self, prompt: str, attempt: int, timeout: float):
            start = time.time()
            result = await self.base_strategy.execute(prompt, attempt, timeout)
            logger.info(f"took {time.time() - start:.2f}s")
            return result

    strategy = TimingStrategy()
    base = strategy.base_strategy = ScriptedStrategy(Answer(Output("ok"), after=3.0))
    with caplog.at_level(logging.INFO, "the sample"):
        result = await process(strategy, *map(str, range(100)), config=config)
    assert result.succeeded == len(caplog.messages) == 100
    assert base.most_in_flight == 10


@sample(49, "High Memory Usage", "a folder, strategy", of=README)
async def test_high_memory_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A post-processor that writes a file for each result."""
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    config = ProcessorConfig()

    async def stream_to_disk(result):
        with open(f"results/{result.item_id}.json", "w") as f:
            json.dump(result.output, f)

    processor = ParallelBatchProcessor(
        config=config,
        post_processor=stream_to_disk,
    )

    async with processor:
        for n in range(3):
            await processor.add_work(LLMWorkItem(f"{n}", ScriptedStrategy(), f"prompt {n}"))
        await processor.process_all()
    written = {path.name: json.loads(path.read_text()) for path in Path("results").iterdir()}
    assert written == {"0.json": "prompt 0", "1.json": "prompt 1", "2.json": "prompt 2"}


@sample(50, "Debug Logging", "strategy", of=README)
async def test_debug_logging(capfd: pytest.CaptureFixture[str]) -> None:
    """One logger has everything that the library says, and detailed lines when asked for."""
    import logging

    with fresh_logging():
        logging.basicConfig(
            level=logging.DEBUG, format="%(asctime)s - %(name)s - %(levelname)s - %(message)s"
        )

        logging.getLogger("batchllm").setLevel(logging.DEBUG)

        config = ProcessorConfig(
            enable_detailed_logging=True,
        )

        await process(ScriptedStrategy(), *map(str, range(10)), config=config)
    lines = capfd.readouterr().err.splitlines()
    assert sum(" - batchllm - DEBUG - " in line for line in lines) == 10, "one per attempt"
    assert any(" - batchllm - INFO - " in line and "10/10" in line for line in lines)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@sample(
    51,
    "Can I use this with synchronous LLM clients?",
    "`sync_client`, `tokens`",
    of=README,
    loops="asyncio (the sample calls `asyncio.to_thread`)",
)
async def test_synchronous_llm_clients(anyio_backend: str) -> None:
    """Blocking calls in threads, as many at once as there are workers."""
    tokens = {"input_tokens": 1, "output_tokens": 2}

    class SyncClientStrategy(LLMCallStrategy[str]):
        async def execute(self, prompt: str, attempt: int, timeout: float):
            output = await asyncio.to_thread(self.sync_client.generate, prompt)
            return output, tokens

    def generate(prompt: str) -> str:
        time.sleep(0.01)
        return prompt.upper()

    strategy = SyncClientStrategy()
    strategy.sync_client = SimpleNamespace(generate=generate)
    result = await process(strategy, "a", "b", "c")
    assert [r.output for r in result.in_input_order()] == ["A", "B", "C"]
    assert result.total_input_tokens == 3


@sample(52, "What happens if my process crashes mid-batch?", "`db`, strategy", of=README)
async def test_process_crashes_mid_batch() -> None:
    """An item that a post-processor has marked is not done again."""

    class Database:
        def __init__(self) -> None:
            self.processed: set[str] = set()

        async def mark_processed(self, item_id: str) -> None:
            self.processed.add(item_id)

        async def get_unprocessed(self) -> list[str]:
            return sorted({"a", "b", "c"} - self.processed)

    db = Database()
    strategy = ScriptedStrategy({"b": [Raise(TypeError), Answer("ok")]}, per_call=False)

    async def mark_complete(result):
        if result.success:
            await db.mark_processed(result.item_id)

    async def run(names: list[str]) -> None:
        async with ParallelBatchProcessor(post_processor=mark_complete) as processor:
            for name in names:
                await processor.add_work(LLMWorkItem(name, strategy, name))
            await processor.process_all()

    await run(["a", "b", "c"])

    unprocessed_items = await db.get_unprocessed()

    assert unprocessed_items == ["b"]
    assert sorted(strategy.prompts) == ["a", "b", "c"]


@sample(
    53,
    "How do I handle API key rotation?",
    "client, `should_rotate`, `get_next_key`, the call that `execute` leaves out",
    of=README,
    how="sketch",
)
async def test_api_key_rotation() -> None:
    """The client is the strategy's own, and may be changed between two calls."""

    class RotatingKeyStrategy(LLMCallStrategy[Output]):
        async def execute(self, prompt: str, attempt: int, timeout: float):
            if self.should_rotate():
                self.client.api_key = self.get_next_key()
            used.append(self.client.api_key)
            return Output((await self.client.generate(prompt)).text), None

    used: list[str] = []
    strategy = RotatingKeyStrategy()
    strategy.client = Client("ok")
    strategy.client.api_key = "first"
    strategy.should_rotate = lambda: len(used) == 2
    strategy.get_next_key = lambda: "second"
    result = await process(strategy, "p", "q", "r", config=ProcessorConfig(max_workers=1))
    assert result.succeeded == 3
    assert used == ["first", "first", "second"]


@sample(
    56,
    "Can I mix different strategies in one batch?",
    "`OpenAIStrategy` as shown above, client, processor",
    of=README,
)
async def test_different_strategies_in_one_batch() -> None:
    """Each item names its strategy."""
    OpenAIStrategy = openai_strategy()
    client = Client(lambda model, messages: f"{model}: {messages[0]['content']}")

    async with ParallelBatchProcessor() as processor:
        gpt4_strategy = OpenAIStrategy(client, "gpt-4o")
        gpt4_mini_strategy = OpenAIStrategy(client, "gpt-4o-mini")

        await processor.add_work(
            LLMWorkItem(
                item_id="complex_1",
                strategy=gpt4_strategy,
                prompt="Complex analysis...",
            )
        )

        await processor.add_work(
            LLMWorkItem(
                item_id="simple_1",
                strategy=gpt4_mini_strategy,
                prompt="Simple summary...",
            )
        )
        result = await processor.process_all()

    outputs = {name: r.output for name, r in result.by_id().items()}
    assert outputs == {
        "complex_1": "gpt-4o: Complex analysis...",
        "simple_1": "gpt-4o-mini: Simple summary...",
    }


@sample(
    57,
    "How do I implement caching for identical prompts?",
    "cache, `base_strategy`; the `...` in a dictionary, which no parser takes, is left out",
    of=README,
    how="not Python",
)
async def test_caching_for_identical_prompts() -> None:
    """A strategy that answers from a cache, and reports cached tokens for it."""

    class CachingStrategy(LLMCallStrategy[Output]):
        def __init__(self, base_strategy, cache):
            self.base_strategy = base_strategy
            self.cache = cache

        async def execute(self, prompt: str, attempt: int, timeout: float):
            cached = await self.cache.get(prompt)
            if cached:
                return cached, {"cached_input_tokens": 100}

            result, tokens = await self.base_strategy.execute(prompt, attempt, timeout)

            await self.cache.set(prompt, result)
            return result, tokens

    class Cache(dict):
        async def get(self, key: str) -> Any:
            return super().get(key)

        async def set(self, key: str, value: Any) -> None:
            self[key] = value

    base = ScriptedStrategy(Answer(Output("ok"), usage={"input_tokens": 100}))
    strategy = CachingStrategy(base, Cache())
    result = await process(strategy, "p", "p", "q", config=ProcessorConfig(max_workers=1))
    assert base.prompts == ["p", "q"]
    assert (result.total_input_tokens, result.total_cached_tokens) == (200, 100)


@sample(
    58,
    "Can I pause/resume processing?",
    "`save_checkpoint`, `load_checkpoint`, `all_items`, strategy",
    of=README,
)
async def test_pause_and_resume() -> None:
    """Ids that a post-processor has saved are left out of the next run."""
    saved: list[set[str]] = []

    async def save_checkpoint(ids: set[str]) -> None:
        saved.append(set(ids))

    async def load_checkpoint() -> set[str]:
        return saved[-1]

    all_items = [SimpleNamespace(id=name) for name in ("a", "b", "c")]
    strategy = ScriptedStrategy({"b": Raise(TypeError)})

    processed_ids = set()

    async def checkpoint(result):
        if result.success:
            processed_ids.add(result.item_id)
            await save_checkpoint(processed_ids)

    async with ParallelBatchProcessor(post_processor=checkpoint) as processor:
        for item in all_items:
            await processor.add_work(LLMWorkItem(item.id, strategy, item.id))
        await processor.process_all()

    checkpoint_data = await load_checkpoint()
    unprocessed = [item for item in all_items if item.id not in checkpoint_data]

    assert [item.id for item in unprocessed] == ["b"]
    assert len(saved) == 2, "once per success"


@sample(59, "How do I implement retries with different prompts?", "`call_llm`, `Output`", of=README)
async def test_retries_with_different_prompts() -> None:
    """The error that `on_error` keeps goes into the next prompt."""

    class AdaptivePromptStrategy(LLMCallStrategy[Output]):
        def __init__(self):
            self.last_error = None

        async def on_error(self, exception: Exception, attempt: int) -> None:
            self.last_error = str(exception)

        async def execute(self, prompt: str, attempt: int, timeout: float):
            if attempt > 1 and self.last_error:
                prompt = f"{prompt}\n\nthe last attempt failed with {self.last_error}"

            return await self.call_llm(prompt)

    prompts: list[str] = []

    async def call_llm(prompt: str) -> Any:
        prompts.append(prompt)
        if len(prompts) < 3:
            raise ValueError(f"mistake {len(prompts)}")
        return Output("good"), {"input_tokens": 3}

    strategy = AdaptivePromptStrategy()
    strategy.call_llm = call_llm
    result = await process(strategy, "p")
    assert prompts == [
        "p",
        "p\n\nthe last attempt failed with mistake 1",
        "p\n\nthe last attempt failed with mistake 2",
    ]
    assert result.results[0].output == "good"


@sample(60, "Testing: 1. Dry-Run Mode", "`work_item`", of=README)
async def test_dry_run_mode() -> None:
    """The whole workflow with hooks and post-processor, and no call."""
    from batchllm import ParallelBatchProcessor, ProcessorConfig

    strategy = ScriptedStrategy(Raise(AssertionError("called")))
    work_item = LLMWorkItem("a", strategy, "p", context=1)
    saved: list[Any] = []

    config = ProcessorConfig(
        max_workers=5,
        dry_run=True,
    )

    async with ParallelBatchProcessor(config=config) as processor:
        await processor.add_work(work_item)

        result = await processor.process_all()

    async with ParallelBatchProcessor(config=config, post_processor=saved.append) as processor:
        await processor.add_work(work_item)
        await processor.process_all()

    assert (strategy.calls, strategy.prepared, strategy.cleaned) == ([], 0, 0)
    assert result.results[0].output == "[DRY-RUN] Mock output for prompt: p..."
    assert (saved[0].output, saved[0].context) == (result.results[0].output, 1)


@sample(
    62,
    "Testing: 3. Integration Tests with Small Batches",
    "`your_full_dataset`, `process_batch`",
    of=README,
)
async def test_integration_tests_with_small_batches() -> None:
    """Five items first, then all of them."""
    your_full_dataset = [f"item {n}" for n in range(20)]
    strategy = ScriptedStrategy()

    async def process_batch(items: list[str], config: ProcessorConfig) -> Any:
        return await process(strategy, *items, config=config)

    test_items = your_full_dataset[:5]

    config = ProcessorConfig(
        max_workers=2,
        timeout_per_item=30.0,
        retry=RetryConfig(max_attempts=2),
    )

    result = await process_batch(test_items, config)

    if result.succeeded == len(test_items):
        full_result = await process_batch(your_full_dataset, config)

    assert full_result.succeeded == 20
    assert len(strategy.calls) == 25
    assert strategy.most_in_flight == 2
