"""OpenTelemetry: spans and metrics of runs, after the semantic conventions for generative AI."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from batchllm.core import (
    CallEnd,
    CallStart,
    LLMWorkItem,
    ProcessingEvent,
    RunStart,
    SpanObserver,
    Tally,
    Termination,
    WorkItemResult,
)
from batchllm.observers.genai import FactsOfStrategies
from batchllm.observers.otel_metrics import CallMetrics
from batchllm.observers.otel_spans import OpenSpan, RunSpan, Spans

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["OpenTelemetryObserver"]


class OpenTelemetryObserver(SpanObserver):
    """Traces runs, items and calls, and records their metrics.

    A run is a span ``batchllm.batch`` under the span in which it was started; each item in it a
    span ``batchllm.item``; each call of a model a span such as ``chat gpt-5-mini``, with the
    attributes of the GenAI conventions. The spans are current while the strategy runs, so what it
    traces itself, or its HTTP client does, comes below the call. A call of a pool, and an item that
    was added to a processor within a span of its own, stands under that span.

    Metrics are ``gen_ai.client.operation.duration`` and ``gen_ai.client.token.usage``, and under
    ``batchllm.`` calls in flight, items by outcome, cost and pauses.

    Example::

        await run_batch(prompts, llm("openai:gpt-5-mini"), observers=[OpenTelemetryObserver()])

    Args:
        tracer_provider: By default the one that the program has set, as for all of OpenTelemetry.
        meter_provider: The same for metrics.
        spans: Whether to make spans.
        metrics: Whether to record metrics.
        content: Whether prompts and answers, and messages of errors that may quote them, are put
            into spans. They can be long, and private.

    Raises:
        ImportError: OpenTelemetry is not installed.
    """

    wanted_events = frozenset({ProcessingEvent.RATE_LIMIT_HIT, ProcessingEvent.COOLDOWN_ENDED})

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        spans: bool = True,
        metrics: bool = True,
        content: bool = False,
    ) -> None:
        trace, meters = _load("trace"), _load("metrics")
        self._facts = FactsOfStrategies()
        self._spans: Spans | None = None
        self._metrics: CallMetrics | None = None
        if spans:
            tracer = trace.get_tracer("batchllm", tracer_provider=tracer_provider)
            self._spans = Spans(tracer, content)
        if metrics:
            self._metrics = CallMetrics(meters.get_meter("batchllm", meter_provider=meter_provider))

    def run_started(self, run: RunStart) -> RunSpan | None:
        """Open the span of a run."""
        return None if self._spans is None else self._spans.start_run(run)

    def run_ended(self, run: RunSpan | None, termination: Termination, tally: Tally) -> None:
        """End the span of a run."""
        if self._spans is not None and run is not None:
            self._spans.end_run(run, termination, tally)

    def item_started(
        self, run: RunSpan | None, item: LLMWorkItem[Any, Any, Any]
    ) -> OpenSpan | None:
        """Open the span of an item."""
        if self._spans is None or run is None:
            return None
        return self._spans.start_item(run, item)

    def item_ended(self, item: OpenSpan | None, result: WorkItemResult[Any, Any] | None) -> None:
        """End the span of an item, and count it."""
        if self._metrics is not None:
            self._metrics.end_item(result)
        if self._spans is not None and item is not None:
            self._spans.end_item(item, result)

    def call_started(
        self, item: OpenSpan | None, call: CallStart
    ) -> tuple[CallStart, OpenSpan | None]:
        """Open the span of a call."""
        facts = self._facts.of(call.strategy)
        if self._metrics is not None:
            self._metrics.start_call(facts)
        return call, None if self._spans is None else self._spans.start_call(call, facts)

    def call_ended(self, call: tuple[CallStart, OpenSpan | None], end: CallEnd) -> None:
        """End the span of a call, and record its metrics."""
        start, span = call
        if self._metrics is not None:
            self._metrics.end_call(self._facts.of(start.strategy), end)
        if self._spans is not None and span is not None:
            self._spans.end_call(span, end)

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Count pauses."""
        if self._metrics is not None:
            self._metrics.on_event(event, data)


def _load(name: str) -> Any:
    try:
        return import_module(f"opentelemetry.{name}")
    except ImportError as error:
        msg = 'OpenTelemetryObserver needs OpenTelemetry: pip install "batchllm[otel]"'
        raise ImportError(msg) from error
