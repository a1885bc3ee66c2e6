"""The samples of the page on advanced patterns, and of its copy as a web page."""

from pathlib import Path
from typing import Any

import pytest

from batchllm import (
    LLMCallStrategy,
    LLMWorkItem,
    ParallelBatchProcessor,
    ProcessorConfig,
    RetryConfig,
    from_callable,
)
from batchllm.testing import Answer, Raise, ScriptedStrategy
from tests.seeds.harness import (
    PATTERNS,
    WEB_PATTERNS,
    Client,
    Genai,
    needs,
    process,
    refused,
    sample,
    validation_error,
)

pytestmark = pytest.mark.anyio

BOTH = (PATTERNS, WEB_PATTERNS)


@needs("pydantic")
@sample(1, "Smart Model Escalation", "client", of=BOTH)
async def test_smart_model_escalation() -> None:
    """A network error or a rate limit is tried again on the cheap model; validation escalates."""
    from pydantic import ValidationError

    class SmartModelEscalation(LLMCallStrategy[dict]):
        MODELS = [
            "gemini-2.5-flash-lite",
            "gemini-2.5-flash",
            "gemini-2.5-pro",
        ]

        def __init__(self, client):
            self.client = client
            self.validation_failures = 0

        async def on_error(self, exception: Exception, attempt: int):
            if isinstance(exception, ValidationError):
                self.validation_failures += 1

        async def execute(self, prompt: str, attempt: int, timeout: float):
            model_index = min(self.validation_failures, len(self.MODELS) - 1)
            model = self.MODELS[model_index]

            response = await self.client.generate(prompt, model=model)
            return response.output, response.tokens

    client = Client(ConnectionError("reset"), refused(), validation_error(), {"ok": True})

    result = await process(SmartModelEscalation(client), "p")

    assert [call["model"] for call in client.calls] == [
        "gemini-2.5-flash-lite",
        "gemini-2.5-flash-lite",
        "gemini-2.5-flash-lite",
        "gemini-2.5-flash",
    ]
    assert result.results[0].output == {"ok": True}
    assert result.results[0].attempts == 3, "the rate limit is no attempt"


@needs("pydantic")
@sample(
    2,
    "Smart Retry with Validation Feedback",
    "client, `PersonData`, `tokens`, `retry_prompt`",
    of=BOTH,
)
async def test_smart_retry_with_validation_feedback() -> None:
    """The mistake is kept by `on_error`, and the next prompt is made of it."""
    from pydantic import BaseModel, ValidationError

    class PersonData(BaseModel):
        name: str
        age: int

    tokens = {"input_tokens": 7, "output_tokens": 3}
    retry_prompt = "These fields succeeded: [name]. Fix these: [age]"

    class SmartRetryStrategy(LLMCallStrategy[PersonData]):
        def __init__(self, client):
            self.client = client
            self.last_error = None
            self.last_response = None

        async def on_error(self, exception: Exception, attempt: int):
            if isinstance(exception, ValidationError):
                self.last_error = exception

        async def execute(self, prompt: str, attempt: int, timeout: float):
            if attempt == 1:
                final_prompt = prompt
            else:
                final_prompt = self._create_retry_prompt(prompt)

            try:
                response = await self.client.generate(final_prompt)
                output = PersonData.model_validate_json(response.text)
                return output, tokens
            except ValidationError as e:
                self.last_response = response.text
                raise

        def _create_retry_prompt(self, original_prompt: str) -> str:
            return retry_prompt

    client = Client('{"name": "Ann", "age": "old"}', '{"name": "Ann", "age": 40}')
    strategy = SmartRetryStrategy(client)

    result = await process(strategy, "Who is Ann?")

    assert [call["prompt"] for call in client.calls] == ["Who is Ann?", retry_prompt]
    assert result.results[0].output == PersonData(name="Ann", age=40)
    assert strategy.last_error.errors()[0]["loc"] == ("age",)
    assert strategy.last_response == '{"name": "Ann", "age": "old"}'
    assert result.total_input_tokens == 7


@sample(3, "Shared Context Caching", "`genai`, `questions`, a file", of=PATTERNS)
async def test_shared_context_caching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred questions share one cache, which is made once."""
    from batchllm.llm_strategies.gemini import GeminiCachedStrategy

    genai = Genai()
    questions = [f"[[answer:answer {n}]]" for n in range(100)]
    monkeypatch.chdir(tmp_path)
    Path("knowledge_base.txt").write_text("All that is known of the matter. " * 40)
    results = []

    async def process_with_caching():
        client = genai.Client(api_key="your-key")

        with open("knowledge_base.txt") as f:
            rag_context = f.read()

        strategy = GeminiCachedStrategy(
            client=client,
            model="gemini-2.5-flash",
            system_instruction=rag_context,
            output_type=str,
        )

        config = ProcessorConfig(max_workers=5)

        async with ParallelBatchProcessor(config=config) as processor:
            for i in range(100):
                await processor.add_work(
                    LLMWorkItem(
                        item_id=f"query_{i}",
                        strategy=strategy,
                        prompt=f"Answer based on context: {questions[i]}",
                    )
                )

            result = await processor.process_all()
        results.append(result)

    await process_with_caching()
    (result,) = results
    assert result.outputs == [f"answer {n}" for n in range(100)]
    assert (genai.caches["created"], genai.caches["most_alive"]) == (1, 1)
    assert len(genai.calls) == 100
    assert all(call.cached_tokens > 0 for call in genai.calls)
    assert result.cache_hit_rate() > 90


@needs("google.genai")
@sample(3, "Shared Context Caching", "`genai.Client`, `questions`, a file", of=WEB_PATTERNS)
async def test_shared_context_caching_by_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model keeps the cache, and a strategy asks it."""
    from google.genai.types import Content

    from batchllm import GeminiCachedModel, GeminiStrategy

    genai = Genai()
    questions = [f"[[answer:answer {n}]]" for n in range(100)]
    monkeypatch.chdir(tmp_path)
    Path("knowledge_base.txt").write_text("All that is known of the matter. " * 40)
    results = []

    async def process_with_caching():
        client = genai.Client(api_key="your-key")

        with open("knowledge_base.txt") as f:
            rag_context = f.read()

        cached_model = GeminiCachedModel(
            "gemini-2.5-flash",
            client,
            cached_content=[Content(parts=[{"text": rag_context}], role="user")],
        )
        strategy = GeminiStrategy(cached_model, response_parser=lambda r: r.text)

        config = ProcessorConfig(max_workers=5)

        async with ParallelBatchProcessor(config=config) as processor:
            for i in range(100):
                await processor.add_work(
                    LLMWorkItem(
                        item_id=f"query_{i}",
                        strategy=strategy,
                        prompt=f"Answer based on context: {questions[i]}",
                    )
                )

            result = await processor.process_all()
        results.append(result)

    await process_with_caching()
    (result,) = results
    assert result.outputs == [f"answer {n}" for n in range(100)]
    assert (genai.caches["created"], genai.caches["most_alive"]) == (1, 1)
    assert result.cache_hit_rate() > 90
    assert genai.caches["alive"] == 1, "kept for the next run; it ends by itself"


@sample(4, "Middleware for Custom Logic", "strategy, work items", of=BOTH)
async def test_middleware_for_custom_logic() -> None:
    """`before_process` that returns nothing, `after_process(result)`, `on_retry`."""
    from batchllm import LLMWorkItem, WorkItemResult
    from batchllm.middleware import Middleware

    told: list[str] = []

    class LoggingMiddleware(Middleware):
        async def before_process(self, work_item: LLMWorkItem):
            told.append(f"start {work_item.item_id}")

        async def after_process(self, result: WorkItemResult):
            if result.success:
                told.append(f"good {result.item_id}")
            else:
                told.append(f"bad {result.item_id}: {result.error}")

        async def on_retry(self, work_item: LLMWorkItem, attempt: int, error: Exception):
            told.append(f"retry {attempt} of {work_item.item_id}: {error}")

    strategy = ScriptedStrategy(
        {"flaky": [Raise(ConnectionError("reset")), Answer("ok")], "bad": Raise(TypeError("no"))}
    )
    config = ProcessorConfig(max_workers=1)

    async def main():
        logging_middleware = LoggingMiddleware()

        async with ParallelBatchProcessor(
            config=config, middlewares=[logging_middleware]
        ) as processor:
            await processor.add_work(LLMWorkItem(item_id="a", strategy=strategy, prompt="flaky"))
            await processor.add_work(LLMWorkItem(item_id="b", strategy=strategy, prompt="bad"))
            result = await processor.process_all()
        return result

    result = await main()
    assert result.succeeded == 1
    assert [line for line in told if "a" in line.split(":")[0].split()] == [
        "start a",
        "retry 1 of a: reset",
        "good a",
    ]
    assert [line for line in told if "b" in line.split(":")[0].split()] == [
        "start b",
        "bad b: TypeError: no",
    ]


@sample(5, "Custom Observers", "strategy, work items", of=BOTH)
async def test_custom_observers() -> None:
    """`ITEM_COMPLETED` has the item's tokens as a mapping; all are there when the run returns."""
    from typing import Any

    from batchllm.observers import BaseObserver, ProcessingEvent

    class CostTracker(BaseObserver):
        def __init__(self):
            self.total_cost = 0.0
            self.total_tokens = 0

        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            if event == ProcessingEvent.ITEM_COMPLETED:
                tokens = data.get("tokens", {})
                total = tokens.get("total_tokens", 0)
                self.total_tokens += total
                self.total_cost += total * 0.00001

    async def answer(prompt: str) -> Any:
        return prompt, {"input_tokens": 100, "output_tokens": 50}

    strategy = from_callable(answer)
    config = ProcessorConfig()
    costs = []

    async def main():
        cost_tracker = CostTracker()

        async with ParallelBatchProcessor(config=config, observers=[cost_tracker]) as processor:
            for n in range(4):
                await processor.add_work(LLMWorkItem(f"item_{n}", strategy, "p"))
            result = await processor.process_all()

            costs.append(f"{cost_tracker.total_tokens}")
            costs.append(f"{cost_tracker.total_cost:.4f}")
            assert result.succeeded == 4

    await main()
    assert costs == ["600", "0.0060"]


@sample(6, "Dynamic Worker Scaling", "strategy, work items", of=BOTH)
async def test_dynamic_worker_scaling() -> None:
    """Fewer workers from the next batch on, after as many rate limits as the sample asks for."""
    limits = [step for _ in range(6) for step in (Raise(refused()), Answer("ok"))]
    # Answers take longer than the calls that were let in so slowly are apart.
    strategy = ScriptedStrategy([*limits, Answer("ok", after=28.0)], per_call=True)
    counts: list[Any] = []

    async def adaptive_processing():
        config = ProcessorConfig(max_workers=10, timeout_per_item=30.0)

        async with ParallelBatchProcessor(config=config) as processor:
            for n in range(6):
                await processor.add_work(LLMWorkItem(f"first_{n}", strategy, "p"))
                result = await processor.process_all()

            stats = await processor.get_stats()
            counts.append(stats["rate_limit_count"])
            if stats["rate_limit_count"] > 5:
                processor.config.max_workers = 3

            assert result.succeeded == 1
            for n in range(9):
                await processor.add_work(LLMWorkItem(f"second_{n}", strategy, "p"))
            strategy.most_in_flight = 0
            await processor.process_all()

    await adaptive_processing()
    assert counts == [6], "each limit is an episode of its own, over all batches"
    assert strategy.most_in_flight == 3


@sample(6, "Dynamic Worker Scaling", "strategy, work items", of=BOTH)
async def test_workers_stay_where_no_limit_was_met() -> None:
    """Without rate limits the count is there and is 0."""
    config = ProcessorConfig(max_workers=10, timeout_per_item=30.0, retry=RetryConfig())
    async with ParallelBatchProcessor(config=config) as processor:
        stats = await processor.get_stats()
        assert stats["rate_limit_count"] == 0
        await processor.add_work(LLMWorkItem("a", ScriptedStrategy(Answer("ok")), "p"))
        await processor.process_all()
        stats = await processor.get_stats()
        assert stats["rate_limit_count"] == 0
        assert processor.config.max_workers == 10
