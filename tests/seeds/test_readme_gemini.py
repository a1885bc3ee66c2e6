"""The readme's samples with Gemini: cached contexts, their tags, and safety ratings."""

import inspect
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from batchllm import LLMWorkItem, ParallelBatchProcessor
from tests.seeds.harness import README, Genai, needs, sample

pytestmark = pytest.mark.anyio

CONTEXT = [{"role": "user", "parts": [{"text": "All that is known of the matter. " * 40}]}]


def a_document(number: int) -> Any:
    return SimpleNamespace(id=f"doc_{number}", text=f"[[answer:summary {number}]]")


def format_prompt(document: Any) -> str:
    return f"Summarize: {document.text}"


async def run(strategy: Any, *prompts: str) -> Any:
    async with ParallelBatchProcessor(strategy=strategy) as processor:
        for number, prompt in enumerate(prompts):
            await processor.add_work(LLMWorkItem(number, prompt=prompt))
        return await processor.process_all()


@sample(
    2,
    "Wrong: New Strategy Per Item",
    "`genai` client, documents; what `GeminiCachedStrategy(...)` takes",
    of=README,
    how="sketch",
)
async def test_wrong_new_strategy_per_item() -> None:
    """A strategy per item works, at the price of a cache for each context."""
    from batchllm import GeminiCachedStrategy

    genai = Genai()
    client = genai.Client(api_key="your-key")
    documents = [a_document(n) for n in range(5)]

    async with ParallelBatchProcessor() as processor:
        for document in documents:
            strategy = GeminiCachedStrategy(
                model="gemini-2.5-flash",
                client=client,
                cached_content=[{"role": "user", "parts": [{"text": f"{document.id} " * 400}]}],
            )
            await processor.add_work(
                LLMWorkItem(
                    item_id=document.id,
                    strategy=strategy,
                    prompt=format_prompt(document),
                )
            )
        result = await processor.process_all()
    assert result.outputs == [f"summary {n}" for n in range(5)]
    assert genai.caches["created"] == 5, "the cost that the sample warns of"


@sample(
    3,
    "Right: Reuse Strategy",
    "`genai` client, documents; what `GeminiCachedStrategy(...)` takes",
    of=README,
    how="sketch",
)
async def test_right_reuse_strategy() -> None:
    """One instance is one cache."""
    from batchllm import GeminiCachedStrategy

    genai = Genai()
    client = genai.Client(api_key="your-key")
    documents = [a_document(n) for n in range(50)]

    async with ParallelBatchProcessor() as processor:
        strategy = GeminiCachedStrategy(
            model="gemini-2.5-flash", client=client, cached_content=CONTEXT
        )

        for document in documents:
            await processor.add_work(
                LLMWorkItem(
                    item_id=document.id,
                    strategy=strategy,
                    prompt=format_prompt(document),
                )
            )
        result = await processor.process_all()
    assert result.outputs == [f"summary {n}" for n in range(50)]
    assert genai.caches["created"] == 1
    assert result.cache_hit_rate() > 90


@sample(
    10,
    "Shared Strategies for Cost Optimization",
    "`genai` client, items; what `cached_content=[...]` holds",
    of=README,
    how="sketch",
)
async def test_shared_strategies_for_cost_optimization() -> None:
    """A cache outlives its time by renewal, and stays for the next run."""
    from batchllm import GeminiCachedStrategy

    genai = Genai()
    client = genai.Client(api_key="your-key")
    items = [SimpleNamespace(id=f"{n}", text="[[latency:100]]") for n in range(300)]

    strategy = GeminiCachedStrategy(
        model="gemini-2.5-flash",
        client=client,
        cached_content=CONTEXT,
        cache_ttl_seconds=3600,
        auto_renew=True,
    )

    for _ in range(2):
        async with ParallelBatchProcessor() as processor:
            for item in items:
                work_item = LLMWorkItem(
                    item_id=item.id,
                    strategy=strategy,
                    prompt=format_prompt(item),
                )
                await processor.add_work(work_item)
            result = await processor.process_all()
        assert (result.succeeded, result.wall_time > 3600) == (300, True)

    assert genai.caches["created"] == 1, "the second run uses what the first has left"
    assert genai.caches["renewed"] >= 2
    assert genai.caches["expired"] == 0
    assert all(call.cached_tokens > 0 for call in genai.calls)


@needs("google.genai")
@sample(14, "Google Gemini with Caching (RAG)", "`genai.Client`", of=README)
async def test_google_gemini_with_caching() -> None:
    """Contents in the SDK's own types; `delete_cache` deletes, where cleanup keeps."""
    from google.genai import types

    from batchllm import GeminiCachedStrategy

    genai: Any = Genai()
    genai.types = types

    client = genai.Client(api_key="your-api-key")

    cached_content = [
        genai.types.Content(
            role="user",
            parts=[genai.types.Part(text="Large document context..." * 60)],
        )
    ]

    strategy = GeminiCachedStrategy(
        model="gemini-2.0-flash",
        client=client,
        response_parser=lambda r: r.text,
        cached_content=cached_content,
        cache_ttl_seconds=3600,
    )

    result = await run(strategy, "[[answer:found]]")
    assert result.outputs == ["found"]
    assert result.total_cached_tokens > 300
    assert (genai.caches["created"], genai.caches["alive"]) == (1, 1)
    await strategy.delete_cache()
    assert (genai.caches["deleted"], genai.caches["alive"]) == (1, 0)


@sample(24, "GeminiResponse Wrapper", "`genai` client, `parse_output`, `content`", of=README)
async def test_gemini_response_wrapper() -> None:
    """Ratings, finish reason and parsed output; a blocked answer has the first two."""
    from batchllm import GeminiCachedStrategy, GeminiResponse

    client = Genai().Client(api_key="your-key")
    content = CONTEXT
    lines: list[str] = []
    outputs: list[Any] = []

    def parse_output(response: Any) -> str:
        return response.text.upper()

    strategy = GeminiCachedStrategy(
        model="gemini-2.0-flash",
        client=client,
        response_parser=parse_output,
        cached_content=content,
        include_metadata=True,
    )

    async with ParallelBatchProcessor() as processor:
        await processor.add_work(LLMWorkItem("good", strategy, "[[answer:said]]"))
        await processor.add_work(LLMWorkItem("bad", strategy, "[[fault:content-filter]]"))

        result = await processor.process_all()

        for work_result in result.results:
            if isinstance(work_result.output, GeminiResponse):
                ratings = work_result.output.safety_ratings
                if ratings:
                    hate_speech = ratings.get("HARM_CATEGORY_HATE_SPEECH", "UNKNOWN")
                    harassment = ratings.get("HARM_CATEGORY_HARASSMENT", "UNKNOWN")

                    if hate_speech in ["HIGH", "MEDIUM"]:
                        lines.append(f"flagged {work_result.item_id}: {harassment}")

                if work_result.output.finish_reason == "SAFETY":
                    lines.append(f"blocked {work_result.item_id}")

                actual_output = work_result.output.output
                outputs.append(actual_output)

    assert lines == ["flagged bad: HIGH", "blocked bad"]
    assert sorted(outputs, key=str) == [None, "SAID"]
    assert (result.succeeded, result.failed) == (1, 1)


@sample(
    25,
    "GeminiResponse Fields",
    "the type parameter after the class's name, which no Python before 3.12 takes",
    of=README,
    how="not Python",
)
def test_gemini_response_fields() -> None:
    """The fields, in their order."""
    from batchllm import GeminiResponse

    assert [field.name for field in attrs.fields(GeminiResponse)] == [
        "output",
        "safety_ratings",
        "finish_reason",
        "token_usage",
        "raw_response",
    ]
    response: GeminiResponse[int] = GeminiResponse(
        output=1,
        safety_ratings={"HARM_CATEGORY_HARASSMENT": "LOW"},
        finish_reason="STOP",
        token_usage={"input_tokens": 1},
        raw_response=None,
    )
    assert response.output == 1


@sample(
    26,
    "Backward Compatibility",
    "`genai` client; what `GeminiCachedStrategy(...)` takes",
    of=README,
    how="sketch",
)
async def test_backward_compatibility() -> None:
    """Without `include_metadata` the output is bare."""
    from batchllm import GeminiCachedStrategy

    client = Genai().Client(api_key="your-key")
    strategy = GeminiCachedStrategy(model="gemini-2.0-flash", client=client, cached_content=CONTEXT)
    async with ParallelBatchProcessor() as processor:
        await processor.add_work(LLMWorkItem("a", strategy, "[[answer:said]]"))
        result = await processor.process_all()
        output = result.results[0].output
    assert output == "said"


def parse_output(response: Any) -> str:
    return str(response.text)


@sample(
    27, "Example: Multi-Tenant Application", "`genai` client, `parse_output`, documents", of=README
)
async def test_multi_tenant_application() -> None:
    """Other tags are another cache, also where the documents are the same."""
    from batchllm import GeminiCachedStrategy

    genai = Genai()
    client = genai.Client(api_key="your-key")
    customer_a_docs = customer_b_docs = CONTEXT

    strategy_a = GeminiCachedStrategy(
        model="gemini-2.0-flash",
        client=client,
        response_parser=parse_output,
        cached_content=customer_a_docs,
        cache_tags={
            "customer_id": "acme-corp",
            "schema_version": "v2",
        },
    )

    strategy_b = GeminiCachedStrategy(
        model="gemini-2.0-flash",
        client=client,
        response_parser=parse_output,
        cached_content=customer_b_docs,
        cache_tags={
            "customer_id": "globex-inc",
            "schema_version": "v2",
        },
    )

    await run(strategy_a, "p")
    await run(strategy_b, "p")
    assert strategy_a.cache_name != strategy_b.cache_name
    assert genai.caches["created"] == 2

    same_as_a = GeminiCachedStrategy(
        model="gemini-2.0-flash",
        client=client,
        response_parser=parse_output,
        cached_content=customer_a_docs,
        cache_tags={"schema_version": "v2", "customer_id": "acme-corp"},
    )
    await run(same_as_a, "p")
    assert same_as_a.cache_name == strategy_a.cache_name
    assert genai.caches["created"] == 2


@sample(28, "Example: A/B Testing", "`genai` client, `parse_output`, `context`", of=README)
async def test_ab_testing() -> None:
    """Both variants in one batch, each with a cache of its own."""
    from batchllm import GeminiCachedStrategy

    genai = Genai()
    client = genai.Client(api_key="your-key")
    context = CONTEXT

    strategy_variant_a = GeminiCachedStrategy(
        model="gemini-2.0-flash",
        client=client,
        response_parser=parse_output,
        cached_content=context,
        cache_tags={
            "experiment": "new-prompt-A",
            "version": "v1",
        },
    )

    strategy_variant_b = GeminiCachedStrategy(
        model="gemini-2.0-flash",
        client=client,
        response_parser=parse_output,
        cached_content=context,
        cache_tags={
            "experiment": "new-prompt-B",
            "version": "v1",
        },
    )

    async with ParallelBatchProcessor() as processor:
        for n in range(20):
            strategy = strategy_variant_a if n % 2 else strategy_variant_b
            await processor.add_work(LLMWorkItem(n, strategy, f"[[answer:{n}]]"))
        result = await processor.process_all()
    assert result.outputs == [str(n) for n in range(20)]
    assert (genai.caches["created"], genai.caches["most_alive"]) == (2, 2)


@sample(
    29, "Example: Environment Isolation", "`genai` client, `parse_output`, `context`", of=README
)
async def test_environment_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags from the environment: another deployment has another cache."""
    import os

    from batchllm import GeminiCachedStrategy

    genai = Genai()
    client = genai.Client(api_key="your-key")
    context = CONTEXT
    names: list[Any] = []
    monkeypatch.delenv("VERSION", raising=False)

    for environment in ("staging", "production", "staging"):
        monkeypatch.setenv("ENV", environment)
        strategy = GeminiCachedStrategy(
            model="gemini-2.0-flash",
            client=client,
            response_parser=parse_output,
            cached_content=context,
            cache_tags={
                "environment": os.getenv("ENV", "development"),
                "deploy_version": os.getenv("VERSION", "unknown"),
            },
        )
        await run(strategy, "p")
        names.append(strategy.cache_name)

    assert names[0] == names[2] != names[1]
    assert genai.caches["created"] == 2


def test_the_older_spelling_has_every_keyword_of_the_samples() -> None:
    """The cached strategy takes by name each argument that the samples give."""
    from batchllm import GeminiCachedStrategy

    taken = set(inspect.signature(GeminiCachedStrategy).parameters)
    assert taken >= {
        "model",
        "client",
        "response_parser",
        "cached_content",
        "system_instruction",
        "output_type",
        "cache_ttl_seconds",
        "auto_renew",
        "cache_tags",
        "include_metadata",
    }
