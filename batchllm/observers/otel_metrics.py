"""Metrics of OpenTelemetry: those of the GenAI conventions, and what a batch has beside calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from batchllm.core import CallEnd, ProcessingEvent, WorkItemResult
from batchllm.observers.genai import OUTCOME, CallFacts, error_type, outcome_of

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter

__all__ = ["CallMetrics"]

_SECONDS: Final = tuple(0.01 * 2**step for step in range(14))
_TOKENS: Final = tuple(float(4**step) for step in range(14))
"""The conventions' own boundaries, from 10 ms to 82 s and from 1 to 67 million tokens."""


@define(eq=False)
class CallMetrics:
    """Records calls and items.

    Args:
        meter: Makes the instruments.
    """

    meter: Meter
    _duration: Histogram = field(init=False)
    _tokens: Histogram = field(init=False)
    _in_flight: UpDownCounter = field(init=False)
    _items: Counter = field(init=False)
    _cost: Counter = field(init=False)
    _pauses: Counter = field(init=False)
    _paused: Counter = field(init=False)

    def __attrs_post_init__(self) -> None:
        meter = self.meter
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._in_flight = meter.create_up_down_counter(
            "batchllm.calls.in_flight", "{call}", "Calls under way."
        )
        self._items = meter.create_counter("batchllm.items", "{item}", "Items by their outcome.")
        self._cost = meter.create_counter("batchllm.cost", "USD", "The cost of items.")
        self._pauses = meter.create_counter(
            "batchllm.rate_limits", "{pause}", "Pauses of a quota scope."
        )
        self._paused = meter.create_counter(
            "batchllm.cooldown.duration", "s", "Seconds that quota scopes were paused."
        )

    def start_call(self, facts: CallFacts) -> None:
        """Count a call that is under way from now on."""
        self._in_flight.add(1, facts.common)

    def end_call(self, facts: CallFacts, end: CallEnd) -> None:
        """Record the time and the tokens of a call."""
        common = facts.common
        self._in_flight.add(-1, common)
        said: Any = (end.metadata or {}).get("model")
        attributes: dict[str, Any] = dict(common)
        if isinstance(said, str):
            attributes["gen_ai.response.model"] = said
        for kind, name in (("input", "input_tokens"), ("output", "output_tokens")):
            count: Any = (end.usage or {}).get(name)
            if count is not None:
                self._tokens.record(count, {**attributes, "gen_ai.token.type": kind})
        if end.error is not None:
            attributes["error.type"] = error_type(end.error)
        self._duration.record(end.seconds, attributes)

    def end_item(self, result: WorkItemResult[Any, Any] | None) -> None:
        """Count an item by its outcome."""
        if result is not None and result.cost is not None:
            self._cost.add(result.cost)
        self._items.add(1, {OUTCOME: outcome_of(result)})

    def on_event(self, event: ProcessingEvent, data: Mapping[str, Any]) -> None:
        """Count pauses."""
        if event is ProcessingEvent.RATE_LIMIT_HIT:
            self._pauses.add(1, {"batchllm.cause": str(data.get("cause", ""))})
        elif event is ProcessingEvent.COOLDOWN_ENDED:
            self._paused.add(data.get("seconds", 0.0))
