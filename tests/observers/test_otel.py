"""OpenTelemetry: spans that lie inside each other, metrics, and nothing that is private."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from batchllm.api import ParallelBatchProcessor, open_pool, run_batch
from batchllm.core import LLMWorkItem, ProcessorConfig, ProviderError, RetryConfig, ServerHint
from batchllm.llm_strategies import llm
from batchllm.observers import OpenTelemetryObserver
from batchllm.testing import Answer, Hang, Raise, ScriptedStrategy

pytestmark = pytest.mark.anyio

ONE_TRY = ProcessorConfig(retry=RetryConfig(max_attempts=1))


class Exported:
    """The real SDK, with exporters in memory."""

    def __init__(self) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider(metric_readers=[self._reader])
        self.tracer = self.tracers.get_tracer("test")

    def observer(self, **options: Any) -> OpenTelemetryObserver:
        options = {"tracer_provider": self.tracers, "meter_provider": self.meters, **options}
        return OpenTelemetryObserver(**options)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The spans that have ended, by the item's id behind their name if they have one."""
        named = {}
        for span in self._exporter.get_finished_spans():
            item = (span.attributes or {}).get("batchllm.item.id", "")
            named[f"{span.name} {item}".strip()] = span
        return named

    @property
    def points(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """The values of each instrument by their attributes; of a histogram (count, sum)."""
        data = self._reader.get_metrics_data()
        found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        for resource in data.resource_metrics if data else ():
            for metric in (one for scope in resource.scope_metrics for one in scope.metrics):
                for point in metric.data.data_points:
                    values: Any = point
                    is_sum = hasattr(point, "value")
                    value = values.value if is_sum else (values.count, values.sum)
                    found.setdefault(metric.name, []).append((dict(values.attributes), value))
        return found


@pytest.fixture
def exported() -> Iterator[Exported]:
    """Give the SDK to one test, and shut it down."""
    sdk = Exported()
    yield sdk
    sdk.tracers.shutdown()
    sdk.meters.shutdown()


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: Any) -> int:
    return int(span.get_span_context().span_id)


async def test_each_span_lies_inside_the_one_before(exported: Exported) -> None:
    """From the caller's over batch, item and call to one that the strategy opens itself."""

    async def answer(prompt: str) -> str:
        with exported.tracer.start_as_current_span(f"own {prompt}"):
            await anyio.sleep(1)
        return prompt

    with exported.tracer.start_as_current_span("caller") as caller:
        await run_batch([("a", "x"), ("b", "y")], answer, observers=[exported.observer()])
        assert trace.get_current_span() is caller
    spans = exported.spans
    chain = [id_of(caller)]
    for name in ("batchllm.batch", "batchllm.item a", "chat a", "own x"):
        assert parent_of(spans[name]) == chain[-1]
        chain.append(id_of(spans[name]))
    assert parent_of(spans["own y"]) == id_of(spans["chat b"])
    assert spans["chat a"].kind is SpanKind.CLIENT


async def test_a_call_has_the_attributes_of_the_conventions(exported: Exported) -> None:
    """The request, the model that answered, and the tokens; no prompt and no answer."""
    model = llm("sim:default", temperature=0.25, max_tokens=500, system="be brief")
    result = await run_batch([("a", "secret")], model, observers=[exported.observer()])
    usage = result.results[0].token_usage
    found = dict(exported.spans["chat default a"].attributes or {})
    assert found.pop("gen_ai.response.id")
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "sim",
        "gen_ai.request.model": "default",
        "gen_ai.request.temperature": 0.25,
        "gen_ai.request.max_tokens": 500,
        "gen_ai.response.model": "default",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": usage["input_tokens"],
        "gen_ai.usage.output_tokens": usage["output_tokens"],
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "server.address": "simulator",
        "server.port": 80,
        "batchllm.item.id": "a",
        "batchllm.attempt": 1,
    }


@pytest.mark.parametrize(
    ("name", "span", "provider"),
    [
        ("gemini:gemini-2.5-flash", "generate_content gemini-2.5-flash", "gcp.gemini"),
        ("mistral:mistral-small", "chat mistral-small", "mistral_ai"),
        ("anthropic:claude-haiku-4-5", "chat claude-haiku-4-5", "anthropic"),
    ],
)
async def test_providers_have_the_names_of_the_conventions(
    exported: Exported, name: str, span: str, provider: str
) -> None:
    """Where ours differ; the address is the provider's own, without the key's fingerprint."""
    strategy = llm(name, api_key="sk-very-secret", http=Refusing())
    await run_batch([("a", "p")], strategy, config=ONE_TRY, observers=[exported.observer()])
    attributes = dict(exported.spans[f"{span} a"].attributes or {})
    assert attributes["gen_ai.provider.name"] == provider
    assert attributes["server.port"] == 443
    assert attributes["error.type"] == "401"
    everything = "".join(one.to_json() for one in exported.spans.values())
    assert "very-secret" not in everything


class Refusing:
    """Stands for a transport whose server refuses every key."""

    async def handle_async_request(self, request: Any) -> Any:
        import httpx

        return httpx.Response(401, json={"error": {"message": "no such key"}}, request=request)

    async def aclose(self) -> None:
        pass


def text(content: str | None) -> dict[str, Any]:
    return {"type": "text", "content": content}


async def test_content_is_there_if_it_is_asked_for(exported: Exported) -> None:
    """As messages with parts, in JSON."""
    model = llm("sim:default", system="be brief")
    picture = {"type": "image", "url": "https://x.org/a.png"}
    prompt = [
        {"role": "user", "content": "é"},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}, picture]},
    ]
    observer = exported.observer(content=True)
    result = await run_batch([("a", prompt), ("b", "p")], model, observers=[observer])
    found = exported.spans["chat default a"].attributes or {}
    assert json.loads(str(found["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [text("é")]},
        {"role": "assistant", "parts": [text("b"), text(json.dumps(picture))]},
    ]
    plain = exported.spans["chat default b"].attributes or {}
    assert json.loads(str(plain["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [text("p")]}
    ]
    assert json.loads(str(found["gen_ai.output.messages"])) == [
        {
            "role": "assistant",
            "parts": [text(result.outputs[0])],
            "finish_reason": "stop",
        }
    ]
    assert json.loads(str(found["gen_ai.system_instructions"])) == [text("be brief")]


async def test_no_key_is_in_the_words_of_an_error(exported: Exported) -> None:
    """A user's own code may put its settings into what it raises."""

    async def fail(prompt: str) -> str:
        raise ValueError("settings were {'key': 'sk-0123456789abcdef'}")

    observer = exported.observer(content=True)
    await run_batch([("a", "p")], fail, observers=[observer])
    said = {str(span.status.description) for span in exported.spans.values()}
    assert "settings were {'key': '***'}" in said
    assert not [text for text in said if "sk-" in text]


REFUSED = ProviderError("slow down", status=429, hint=ServerHint(wait=5.0))


async def test_failures_are_errors_with_their_class(exported: Exported) -> None:
    """The HTTP status, else the type of the exception; a message only if it quotes nothing."""
    script = {"limited": [Raise(REFUSED), Raise(ValueError("'my answer' is no number"))]}
    items = [("a", "limited")]
    observer = exported.observer()
    await run_batch(items, ScriptedStrategy(script), config=ONE_TRY, observers=[observer])
    calls = [span for span in exported._exporter.get_finished_spans() if span.name == "chat"]
    assert [one.attributes and one.attributes["error.type"] for one in calls] == [
        "429",
        "ValueError",
    ]
    assert [one.status.description for one in calls] == ["slow down", None]
    assert all(one.status.status_code is StatusCode.ERROR for one in calls)
    item = exported.spans["batchllm.item a"]
    attributes = dict(item.attributes or {})
    assert attributes["batchllm.item.outcome"] == attributes["error.type"] == "bad_output"
    assert attributes["batchllm.item.calls"] == 2
    assert float(str(attributes["batchllm.item.cooldown_wait"])) >= 5.0
    assert item.status.status_code is StatusCode.ERROR
    assert exported.spans["batchllm.batch"].status.status_code is StatusCode.UNSET


async def test_a_batch_that_breaks_is_an_error(exported: Exported) -> None:
    """One that was stopped is none."""
    strategy = ScriptedStrategy(prepare=Raise(OSError("no disk")))
    with pytest.raises(Exception, match="no disk"):
        await run_batch(["p"], strategy, observers=[exported.observer()])
    span = exported.spans["batchllm.batch"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "prepare_failed"


async def test_what_is_cancelled_says_so(exported: Exported) -> None:
    """It is no error, and it may have been billed."""
    with anyio.move_on_after(1.0):
        await run_batch([("a", "p")], ScriptedStrategy(Hang()), observers=[exported.observer()])
    spans = exported.spans
    assert (spans["chat a"].attributes or {})["batchllm.cancelled"] is True
    assert (spans["batchllm.item a"].attributes or {})["batchllm.item.outcome"] == "cancelled"
    assert (spans["batchllm.batch"].attributes or {})["batchllm.termination"] == "caller_cancelled"


async def test_calls_of_a_pool_stand_under_their_callers(exported: Exported) -> None:
    """A pool has no span of its own: it would be open as long as the service."""
    strategy, observer = ScriptedStrategy(Answer(after=1.0)), exported.observer()

    async def request(number: int) -> None:
        with exported.tracer.start_as_current_span(f"request {number}"):
            await pool.call("p")

    with exported.tracer.start_as_current_span("service"):
        async with (
            open_pool(strategy, observers=[observer]) as pool,
            anyio.create_task_group() as tasks,
        ):
            for number in (1, 2):
                tasks.start_soon(request, number)
    spans = exported.spans
    parents = {parent_of(spans[f"batchllm.item call-{number}"]) for number in (1, 2)}
    assert parents == {id_of(spans["request 1"]), id_of(spans["request 2"])}
    assert "batchllm.batch" not in spans


async def test_an_item_stands_under_the_span_in_which_it_was_added(exported: Exported) -> None:
    """The batch is linked; an item that was added under the batch's own caller is in the batch."""
    processor = ParallelBatchProcessor[Any, Any, Any](
        strategy=ScriptedStrategy(), observers=[exported.observer()]
    )
    async with processor:
        with exported.tracer.start_as_current_span("request"):
            await processor.add_work(LLMWorkItem("far", prompt="p"))
        with exported.tracer.start_as_current_span("job"):
            await processor.add_work(LLMWorkItem("near", prompt="p"))
            await processor.process_all()
    spans = exported.spans
    far, batch = spans["batchllm.item far"], spans["batchllm.batch"]
    assert parent_of(far) == id_of(spans["request"])
    assert [link.context.span_id for link in far.links] == [id_of(batch)]
    assert parent_of(spans["batchllm.item near"]) == id_of(batch)
    assert parent_of(batch) == id_of(spans["job"])
    assert parent_of(spans["chat far"]) == id_of(far)


async def test_metrics_of_the_conventions(exported: Exported) -> None:
    """Time and tokens of calls, with the boundaries that the conventions name."""
    usage = {"input_tokens": 10, "output_tokens": 5}
    script: dict[str, Any] = {
        "a": [Raise(REFUSED), Answer("x", after=2.0, usage=usage)],
        "b": Raise(ValueError("no"), after=1.0),
    }
    observer = exported.observer(spans=False)
    await run_batch(["a", "b"], ScriptedStrategy(script), config=ONE_TRY, observers=[observer])
    points, common = (
        exported.points,
        {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "common"},
    )
    assert sorted(points["gen_ai.client.operation.duration"], key=str) == sorted(
        [
            (common | {"error.type": "429"}, (1, 0.0)),
            (common | {"error.type": "ValueError"}, (1, 1.0)),
            (common, (1, 2.0)),
        ],
        key=str,
    )
    assert points["gen_ai.client.token.usage"] == [
        (common | {"gen_ai.token.type": "input"}, (1, 10)),
        (common | {"gen_ai.token.type": "output"}, (1, 5)),
    ]
    assert points["batchllm.calls.in_flight"] == [(common, 0)]
    assert sorted(points["batchllm.items"], key=str) == [
        ({"batchllm.item.outcome": "answered"}, 1),
        ({"batchllm.item.outcome": "bad_output"}, 1),
    ]
    assert points["batchllm.rate_limits"][0][1] == 1
    assert points["batchllm.cooldown.duration"][0][1] >= 5.0
    assert exported.spans == {}


async def test_the_boundaries_are_those_of_the_conventions(exported: Exported) -> None:
    """Powers of two from 10 ms, powers of four from one token."""
    usage = {"input_tokens": 10}
    strategy = ScriptedStrategy(Answer(usage=usage))
    await run_batch(["a"], strategy, observers=[exported.observer()])
    data: Any = exported._reader.get_metrics_data()
    bounds = {
        metric.name: metric.data.data_points[0].explicit_bounds
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if hasattr(metric.data.data_points[0], "explicit_bounds")
    }
    seconds, tokens = (bounds[f"gen_ai.client.{n}"] for n in ("operation.duration", "token.usage"))
    assert (seconds[0], seconds[-1], len(seconds)) == (0.01, 81.92, 14)
    assert (tokens[0], tokens[-1], len(tokens)) == (1, 67108864, 14)
    assert all(math.isclose(b, 2 * a) for a, b in pairwise(seconds))


async def test_what_is_not_sampled_still_passes_the_parent_on() -> None:
    """Spans that are dropped cost no attributes, and are still the current ones."""
    tracers = TracerProvider(sampler=sampling.ALWAYS_OFF)
    seen: list[bool] = []

    async def answer(prompt: str) -> str:
        seen.append(trace.get_current_span().get_span_context().is_valid)
        return prompt

    observer = OpenTelemetryObserver(tracer_provider=tracers, metrics=False)
    assert (await run_batch(["a"], answer, observers=[observer])).succeeded == 1
    assert seen == [True]
    tracers.shutdown()


async def test_without_an_sdk_nothing_is_recorded_and_nothing_fails() -> None:
    """The API alone does nothing, as programs without telemetry expect of it."""
    result = await run_batch(["a", "b"], ScriptedStrategy(), observers=[OpenTelemetryObserver()])
    assert (result.succeeded, list(result.warnings)) == (2, [])


def test_without_the_library_the_line_that_installs_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the observer is made, and not when a batch runs."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(ImportError, match=r'pip install "batchllm\[otel\]"'):
        OpenTelemetryObserver()


def test_neither_library_is_imported_before_it_is_used() -> None:
    """The observers can be imported, and batches run, without them."""
    code = (
        "import sys; from batchllm.observers import OpenTelemetryObserver, PrometheusObserver; "
        "from batchllm import llm, run_batch_sync; run_batch_sync(['a'], llm('sim:instant')); "
        "print({'opentelemetry', 'prometheus_client', 'IPython', 'pandas', 'polars', 'pyarrow'} "
        "& {name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
