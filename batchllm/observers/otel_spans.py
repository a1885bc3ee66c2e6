"""Spans of OpenTelemetry: one per run, per item and per call, each inside the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen

from batchllm.core import (
    CallEnd,
    CallStart,
    EndCause,
    LLMWorkItem,
    RunStart,
    Tally,
    Termination,
    WorkItemResult,
    message_of,
)
from batchllm.observers.genai import (
    OUTCOME,
    CallFacts,
    answer_attributes,
    error_type,
    input_messages,
    outcome_of,
    output_messages,
    safe_message,
    system_instructions,
)

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext, Tracer

__all__ = ["Spans"]

_MOST_LETTERS: Final = 500
"""Letters of an error's message in a span: a provider's words, not its page."""
_FAULTS: Final = frozenset(
    {
        EndCause.ENDPOINT_DOWN,
        EndCause.FAIL_FAST,
        EndCause.JOURNAL_FAILED,
        EndCause.PREPARE_FAILED,
        EndCause.PROGRAM_ERROR,
        EndCause.SOURCE_FAILED,
    }
)
"""Ends of a run that are errors; a stop that was asked for is no error."""


@frozen
class RunSpan:
    """The span of one run.

    Attributes:
        batch: The run's name in logs.
        span: The span; a pool has none, since it would end when the service does.
        context: The parent of the run's items.
        caller: The span in which the run was started.
    """

    batch: str
    span: Span | None
    context: Context | None
    caller: SpanContext


@frozen
class OpenSpan:
    """A span that is current in the task that opened it."""

    span: Span
    token: Token[Context]


@define(eq=False)
class Spans:
    """Opens and ends the spans.

    Args:
        tracer: Makes them.
        content: Whether prompts and answers are put into them.
    """

    tracer: Tracer
    content: bool = False
    _trace: Any = field(init=False)
    _context: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Kept, since an import statement in each call costs more than what it is for.
        from opentelemetry import context, trace

        self._trace, self._context = trace, context

    def start_run(self, run: RunStart) -> RunSpan:
        """Open the span of a run under the span of its caller; it is not made current there."""
        caller = self._trace.get_current_span().get_span_context()
        if run.pool:
            return RunSpan(run.batch, None, None, caller)
        attributes: dict[str, Any] = {"batchllm.batch": run.batch}
        if run.total is not None:
            attributes["batchllm.items.total"] = run.total
        span = self.tracer.start_span("batchllm.batch", attributes=attributes)
        return RunSpan(run.batch, span, self._trace.set_span_in_context(span), caller)

    def end_run(self, run: RunSpan, termination: Termination, tally: Tally) -> None:
        """End the span of a run with its sums."""
        span = run.span
        if span is None:
            return
        if span.is_recording():
            counts = {
                name: getattr(tally, name) for name in ("succeeded", "failed", "skipped", "not_run")
            }
            span.set_attributes({f"batchllm.items.{name}": n for name, n in counts.items()})
            span.set_attribute("batchllm.termination", termination.cause.value)
            if tally.cost is not None:
                span.set_attribute("batchllm.cost", tally.cost)
            if termination.cause in _FAULTS:
                span.set_attribute("error.type", termination.cause.value)
                self._fail(span, None)
        span.end()

    def start_item(self, run: RunSpan, item: LLMWorkItem[Any, Any, Any]) -> OpenSpan:
        """Open the span of an item, and make it current in the item's task.

        Its parent is the span of the run, unless the item was submitted within another span than
        the run was started in: then it is that one, and the run's is linked.
        """
        submitter = self._trace.get_current_span().get_span_context()
        context, links = run.context, None
        if run.span is not None and submitter.is_valid and submitter != run.caller:
            context, links = None, [self._trace.Link(run.span.get_span_context())]
        attributes = {"batchllm.batch": run.batch, "batchllm.item.id": item.item_id}
        span = self.tracer.start_span("batchllm.item", context, attributes=attributes, links=links)
        return self._open(span)

    def end_item(self, item: OpenSpan, result: WorkItemResult[Any, Any] | None) -> None:
        """End the span of an item with what its result says of its way."""
        span = item.span
        if span.is_recording():
            span.set_attributes(_of_result(result))
            if result is not None and not (result.success or result.skipped or result.not_run):
                span.set_attribute("error.type", str(result.error_category or "unknown"))
                self._fail(span, result.exception)
        self._close(item)

    def start_call(self, call: CallStart, facts: CallFacts) -> OpenSpan:
        """Open the span of a call, and make it current where the strategy runs."""
        attributes: dict[str, Any] = {
            **facts.common,
            **facts.request,
            "batchllm.item.id": call.item_id,
            "batchllm.attempt": call.attempt,
        }
        if self.content:
            attributes["gen_ai.input.messages"] = input_messages(call.prompt)
            system = getattr(call.strategy, "system", None)
            if isinstance(system, str):
                attributes["gen_ai.system_instructions"] = system_instructions(system)
        kind = self._trace.SpanKind.CLIENT
        return self._open(self.tracer.start_span(facts.name, kind=kind, attributes=attributes))

    def end_call(self, call: OpenSpan, end: CallEnd) -> None:
        """End the span of a call with its answer, or with what went wrong."""
        span = call.span
        if span.is_recording():
            span.set_attributes(answer_attributes(end))
            if end.error is not None:
                span.set_attribute("error.type", error_type(end.error))
                span.set_attribute("batchllm.error_category", str(end.category or "unknown"))
                self._fail(span, end.error)
            elif end.cancelled:
                span.set_attribute("batchllm.cancelled", True)
            elif self.content:
                span.set_attribute("gen_ai.output.messages", output_messages(end))
        self._close(call)

    def _open(self, span: Span) -> OpenSpan:
        return OpenSpan(span, self._context.attach(self._trace.set_span_in_context(span)))

    def _close(self, one: OpenSpan) -> None:
        self._context.detach(one.token)
        one.span.end()

    def _fail(self, span: Span, error: BaseException | None) -> None:
        said = message_of(error) if self.content and error is not None else None
        text = said if said or error is None else safe_message(error)
        code = self._trace.StatusCode.ERROR
        span.set_status(self._trace.Status(code, None if text is None else text[:_MOST_LETTERS]))


def _of_result(result: WorkItemResult[Any, Any] | None) -> Mapping[str, Any]:
    if result is None:
        return {OUTCOME: outcome_of(None)}
    timing = result.timing
    found: dict[str, Any] = {
        OUTCOME: outcome_of(result),
        "batchllm.item.attempts": result.attempts,
        "batchllm.item.calls": len(timing.attempts),
        "batchllm.item.admission_wait": timing.admission_wait,
        "batchllm.item.cooldown_wait": timing.cooldown_wait,
        "batchllm.item.backoff": timing.backoff,
    }
    if result.cost is not None:
        found["batchllm.cost"] = result.cost
    return found
