"""The readme's samples: contexts, classifiers, settings, and advice on how to use them."""

import logging
import warnings
from itertools import pairwise
from typing import Any

import anyio
import pytest

from batchllm import (
    LLMCallStrategy,
    LLMWorkItem,
    ParallelBatchProcessor,
    ProcessorConfig,
    WorkItemResult,
)
from batchllm.testing import Answer, Raise, ScriptedStrategy
from tests.seeds.harness import README, Client, process, refused, sample

pytestmark = pytest.mark.anyio


class Database:
    """Keeps what is saved."""

    def __init__(self) -> None:
        self.saved: list[Any] = []

    async def save(self, *row: Any, **fields: Any) -> None:
        await anyio.sleep(0.1)
        self.saved.append(row[0] if row else fields)


@sample(30, "Context and Post-Processing", "`db`, strategy", of=README)
async def test_context_and_post_processing() -> None:
    """The post-processor is called with every result, its context beside it."""
    from dataclasses import dataclass

    db = Database()
    seen: list[str] = []
    strategy = ScriptedStrategy({"fails": Raise(TypeError)})

    @dataclass
    class WorkContext:
        user_id: str
        document_id: str

    async def save_result(result: WorkItemResult):
        seen.append(result.item_id)
        if result.success:
            await db.save(
                user_id=result.context.user_id,
                document_id=result.context.document_id,
                summary=result.output,
            )

    config = ProcessorConfig(max_workers=5)
    processor = ParallelBatchProcessor(
        config=config,
        post_processor=save_result,
    )

    await processor.add_work(
        LLMWorkItem(
            item_id="doc_123",
            strategy=strategy,
            prompt="Summarize...",
            context=WorkContext(user_id="user_1", document_id="doc_123"),
        )
    )

    await processor.add_work(LLMWorkItem(item_id="bad", strategy=strategy, prompt="fails"))
    result = await processor.process_all()
    await processor.cleanup()

    row = {"user_id": "user_1", "document_id": "doc_123", "summary": "Summarize..."}
    assert db.saved == [row]
    assert sorted(seen) == ["bad", "doc_123"], "failures are results, too"
    assert result.by_id()["doc_123"].context == WorkContext("user_1", "doc_123")


@sample(31, "Error Classification", "strategy that raises as Google's SDK does", of=README)
async def test_error_classification() -> None:
    """Google's "resource exhausted" is a rate limit, which is waited for."""
    from batchllm.classifiers import GeminiErrorClassifier

    class ClientError(Exception):
        code = 429
        status = "RESOURCE_EXHAUSTED"

    config = ProcessorConfig()

    processor = ParallelBatchProcessor(
        config=config,
        error_classifier=GeminiErrorClassifier(),
    )

    strategy = ScriptedStrategy([Raise(ClientError("429 RESOURCE_EXHAUSTED")), Answer("ok")])
    async with processor:
        await processor.add_work(LLMWorkItem("a", strategy, "p"))
        result = await processor.process_all()
        stats = await processor.get_stats()
    assert (result.succeeded, stats["rate_limit_count"]) == (1, 1)
    info = GeminiErrorClassifier().classify(ClientError("429 RESOURCE_EXHAUSTED"))
    assert (info.is_rate_limit, info.error_category) == (True, "rate_limit")


@sample(32, "ProcessorConfig", of=README)
def test_processor_config() -> None:
    """Every setting that the reference lists is there, with the default that it tells."""
    from batchllm import ProcessorConfig
    from batchllm.core import RateLimitConfig, RetryConfig

    config = ProcessorConfig(
        max_workers=5,
        timeout_per_item=120.0,
        retry=RetryConfig(
            max_attempts=3,
            initial_wait=1.0,
            max_wait=60.0,
            exponential_base=2.0,
            jitter=True,
        ),
        rate_limit=RateLimitConfig(
            cooldown_seconds=300.0,
            backoff_multiplier=1.5,
            slow_start_items=50,
            slow_start_initial_delay=2.0,
            slow_start_final_delay=0.1,
        ),
        progress_interval=10,
        progress_callback_timeout=5.0,
        max_queue_size=0,
        dry_run=False,
        enable_detailed_logging=False,
    )

    assert config == ProcessorConfig(rate_limit=RateLimitConfig())
    assert config.retry == RetryConfig()


@sample(33, "1. Rate-Limited APIs: a cautious start", "strategy", of=README)
async def test_rate_limited_apis() -> None:
    """Five workers are five calls in flight, never six."""
    config = ProcessorConfig(max_workers=5)

    strategy = ScriptedStrategy(Answer("ok", after=1.0))
    await process(strategy, *map(str, range(40)), config=config)
    assert strategy.most_in_flight == 5


@sample(34, "1. Rate-Limited APIs: a known limit", "strategy", of=README)
async def test_rate_limited_apis_with_proactive_rate_limiting() -> None:
    """A declared limit is kept in every window of a minute, so that none is met."""
    config = ProcessorConfig(
        max_workers=4,
        max_requests_per_minute=300,
    )

    strategy = ScriptedStrategy(Answer("ok", after=0.5))
    await process(strategy, *map(str, range(700)), config=config)
    starts = [call.started for call in strategy.calls]
    assert all(later - first > 60 for first, later in zip(starts, starts[300:], strict=False))
    assert starts[-1] < 160, "and it is used"
    assert strategy.most_in_flight <= 4


@sample(35, "2. Unlimited APIs", of=README)
def test_unlimited_apis() -> None:
    """Workers by the machine's processors."""
    import os

    config = ProcessorConfig(max_workers=min(os.cpu_count() * 2, 20))

    assert 1 <= config.max_workers <= 20


@sample(36, "3. Testing and Debugging", "strategy", of=README)
async def test_testing_and_debugging() -> None:
    """Two workers."""
    config = ProcessorConfig(max_workers=2)

    strategy = ScriptedStrategy(Answer("ok", after=1.0))
    await process(strategy, *map(str, range(6)), config=config)
    assert strategy.most_in_flight == 2


@sample(37, "4. Monitoring and Tuning", "processor with items", of=README)
async def test_monitoring_and_tuning() -> None:
    """The number of rate limits, and how long processing took."""
    lines: list[str] = []
    strategy = ScriptedStrategy([Raise(refused()), Answer("ok", after=2.0)], per_call=True)
    async with ParallelBatchProcessor(ProcessorConfig(max_workers=1)) as processor:
        for n in range(5):
            await processor.add_work(LLMWorkItem(str(n), strategy, "p"))

        started = anyio.current_time()
        result = await processor.process_all()
        stats = await processor.get_stats()
        took = anyio.current_time() - started

        lines.append(f"Rate limits hit: {stats['rate_limit_count']}")
        lines.append(f"Throughput: {result.total_items / stats['duration']:.2f} items/sec")

    assert lines == ["Rate limits hit: 1", f"Throughput: {5 / took:.2f} items/sec"]
    assert took > 10


class Managed(LLMCallStrategy[str]):
    """Counts what it has open."""

    def __init__(self) -> None:
        self.open = 0

    async def prepare(self) -> None:
        self.open += 1

    async def execute(self, prompt: str, attempt: int, timeout: float) -> Any:
        return prompt, None

    async def cleanup(self) -> None:
        self.open -= 1


@sample(38, "Resource Management", "`work_item`", of=README)
async def test_resource_management() -> None:
    """Leaving the block cleans up, and so does `cleanup()`; forgetting both is a warning."""
    config = ProcessorConfig()
    strategy = Managed()
    work_item = LLMWorkItem("a", strategy, "p")

    async with ParallelBatchProcessor(config=config) as processor:
        await processor.add_work(work_item)
        result = await processor.process_all()
        assert strategy.open == 1
    assert (strategy.open, result.succeeded) == (0, 1)

    processor = ParallelBatchProcessor(config=config)
    await processor.add_work(work_item)
    result = await processor.process_all()
    await processor.cleanup()
    assert (strategy.open, result.succeeded) == (0, 1)

    processor = ParallelBatchProcessor(config=config)
    await processor.add_work(work_item)
    await processor.process_all()
    with pytest.warns(ResourceWarning, match="without cleanup"):
        processor.__del__()
    await processor.cleanup()


@sample(
    39,
    "Error Handling Strategy",
    "strategy",
    of=README,
)
async def test_error_handling_strategy() -> None:
    """A classifier of one's own decides, and asks the default where it has no opinion."""
    from batchllm.classifiers import GeminiErrorClassifier

    config = ProcessorConfig()

    processor = ParallelBatchProcessor(
        config=config,
        error_classifier=GeminiErrorClassifier(),
    )
    await processor.cleanup()

    from batchllm import ErrorClassifier, ErrorInfo

    class CustomErrorClassifier(ErrorClassifier):
        def classify(self, exception: Exception) -> ErrorInfo:
            if "RateLimitError" in str(type(exception)):
                return ErrorInfo(
                    is_retryable=False,
                    is_rate_limit=True,
                    is_timeout=False,
                    error_category="rate_limit",
                    suggested_wait=60.0,
                )

    class RateLimitError(Exception):
        pass

    script = {
        "limited": [Raise(RateLimitError), Answer("ok")],
        "wrong": Raise(TypeError("no")),
    }
    strategy = ScriptedStrategy(script)
    result = await process(strategy, "limited", "wrong", error_classifier=CustomErrorClassifier())
    assert [r.success for r in result.in_input_order()] == [True, False]
    assert result.by_id()["item_1"].error_category == "program_error", "as the default has it"
    limited = [call.started for call in strategy.calls if call.prompt == "limited"]
    assert limited[1] - limited[0] >= 60.0, "suggested_wait is the pause, is_retryable or not"


@sample(40, "Memory Considerations", "`db`, strategy", of=README)
async def test_memory_considerations() -> None:
    """A post-processor can save results as they come; `keep_results=False` keeps counts only."""
    db = Database()
    config = ProcessorConfig(keep_results=False)
    strategy = ScriptedStrategy()

    async def save_and_clear(result):
        await db.save(result)

    processor = ParallelBatchProcessor(
        config=config,
        post_processor=save_and_clear,
    )

    for n in range(20):
        await processor.add_work(LLMWorkItem(str(n), strategy, "p"))
    result = await processor.process_all()
    await processor.cleanup()
    assert sorted(int(saved.item_id) for saved in db.saved) == list(range(20))
    assert (result.results, result.total_items, result.succeeded) == ([], 20, 20)


@sample(
    41,
    "Progressive Strategies",
    "`Output`, the call that `execute` leaves out",
    of=README,
    how="sketch",
)
async def test_progressive_strategies() -> None:
    """Model and temperature by attempt."""

    class Output(str):
        pass

    class SmartEscalationStrategy(LLMCallStrategy[Output]):
        CONFIGS = [
            ("gpt-4o-mini", 0.0),
            ("gpt-4o-mini", 0.7),
            ("gpt-4o", 0.0),
        ]

        async def execute(self, prompt: str, attempt: int, timeout: float):
            model, temp = self.CONFIGS[min(attempt - 1, len(self.CONFIGS) - 1)]
            response = await client.generate(prompt, model=model, temperature=temp)
            return Output(response.text), response.usage

    client = Client(ValueError("bad"), ValueError("bad again"), "good")
    result = await process(SmartEscalationStrategy(), "p")
    assert result.results[0].output == "good"
    used = [(call["model"], call["temperature"]) for call in client.calls]
    assert used == SmartEscalationStrategy.CONFIGS


@sample(43, "`FrameworkTimeoutError: Framework timeout after X.Xs`", "strategy", of=README)
async def test_framework_timeout_error() -> None:
    """An item that outlasts its time fails with that error; more time or fewer attempts help."""
    from batchllm import FrameworkTimeoutError, RetryConfig

    slow = ScriptedStrategy(Answer("late", after=200.0))
    config = ProcessorConfig(timeout_per_item=30.0)
    result = await process(slow, "p", config=config)
    (failed,) = result.results
    assert isinstance(failed.exception, FrameworkTimeoutError)
    assert failed.error.startswith("Framework timeout after 30.0s")
    assert failed.error_category == "timeout"

    config = ProcessorConfig(timeout_per_item=300.0)
    result = await process(slow, "p", config=config)
    assert result.results[0].output == "late"

    config = ProcessorConfig(
        timeout_per_item=120.0,
        retry=RetryConfig(
            max_attempts=2,
            max_wait=20.0,
        ),
    )
    failing = ScriptedStrategy(Raise(ConnectionError, after=40.0))
    result = await process(failing, "p", config=config)
    assert result.results[0].attempts == 2


@sample(44, "Rate Limit Errors (429)", "strategy", of=README)
async def test_rate_limit_errors(caplog: pytest.LogCaptureFixture) -> None:
    """The log says "Rate limit detected"; pause, workers and slow start are settings."""
    from batchllm.core import RateLimitConfig

    async def starts(config: ProcessorConfig, count: int = 3) -> list[float]:
        began = anyio.current_time()
        steps = [Raise(refused()), Answer("ok", after=2.0)]
        strategy = ScriptedStrategy(steps, per_call=True)
        result = await process(strategy, *map(str, range(count)), config=config)
        assert result.succeeded == count
        return [call.started - began for call in strategy.calls]

    config = ProcessorConfig(
        rate_limit=RateLimitConfig(
            cooldown_seconds=600.0,
        ),
    )
    *_, last = await starts(config)
    assert last >= 600.0
    (record,) = [r for r in caplog.records if "Rate limit detected" in r.message]
    assert (record.levelno, record.name) == (logging.WARNING, "batchllm")
    assert "600.0 s" in record.message

    config = ProcessorConfig(max_workers=2)
    assert len([at for at in await starts(config) if at < 0.5]) == 2

    config = ProcessorConfig(
        rate_limit=RateLimitConfig(
            slow_start_items=100,
            slow_start_initial_delay=5.0,
        ),
    )
    slowly = [at for at in await starts(config, count=15) if at >= 300.0]
    assert len(slowly) > 5
    assert all(later - at > 4.5 for at, later in pairwise(slowly))


@sample(
    45,
    "`Validation Errors Keep Failing`",
    "`Output`, `input_text`, the call that `execute` leaves out",
    of=README,
    how="sketch",
)
async def test_validation_errors_keep_failing() -> None:
    """A hotter attempt, and a prompt in braces that nothing tries to fill in."""
    input_text = "Ann is 40."
    used: list[float] = []

    class Output(str):
        pass

    class ProgressiveTempStrategy(LLMCallStrategy[Output]):
        def __init__(self, agent):
            self.agent = agent
            self.temps = [0.0, 0.5, 1.0]

        async def execute(self, prompt: str, attempt: int, timeout: float):
            temp = self.temps[min(attempt - 1, len(self.temps) - 1)]
            used.append(temp)
            return Output((await self.agent.generate(prompt)).text), None

    prompt = f"""Give JSON such as
{{
    "name": "string",
    "age": integer
}}
of: {input_text}
"""

    agent = Client(ValueError("no JSON"), "good")
    result = await process(ProgressiveTempStrategy(agent), prompt)
    assert used == [0.0, 0.5]
    assert agent.calls[-1]["prompt"] == prompt
    assert result.succeeded == 1


@sample(55, "What `dry_run` mode does", "strategy", of=README)
async def test_what_dry_run_mode_does() -> None:
    """No call, no `prepare`; the text and the tokens of `dry_run()`."""
    config = ProcessorConfig(dry_run=True)

    strategy = Managed()
    client = Client()

    class Calling(Managed):
        async def execute(self, prompt: str, attempt: int, timeout: float) -> Any:
            response = await client.generate(prompt)
            return response.text, response.usage

    strategy = Calling()
    long = "a prompt of more than fifty letters, so that its end is left out"
    result = await process(strategy, long, config=config)
    assert client.calls == []
    assert strategy.open == 0
    assert result.results[0].output == f"[DRY-RUN] Mock output for prompt: {long[:50]}..."
    assert (result.total_input_tokens, result.total_output_tokens) == (100, 50)
    assert result.results[0].token_usage["total_tokens"] == 150


@sample(54, '"timeout may be too short" warnings', of=README)
def test_timeout_may_be_too_short_warnings() -> None:
    """The warning has the numbers; what the sample advises ends it, and defaults never warn."""
    from batchllm.core import RetryConfig

    with pytest.warns(UserWarning, match=r"timeout may be too short.*is 2 s.*add up to 3 s"):
        ProcessorConfig(timeout_per_item=2.0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = ProcessorConfig(
            timeout_per_item=180.0,
            retry=RetryConfig(max_attempts=2),
        )
        ProcessorConfig()
    assert config.retry.waits() == (1.0,)
