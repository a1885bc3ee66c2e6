"""Metrics for Prometheus, kept by its own client, for programs that are scraped."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from batchllm.core import (
    CallEnd,
    CallStart,
    ConfigError,
    ProcessingEvent,
    SpanObserver,
    WorkItemResult,
)
from batchllm.observers.genai import FactsOfStrategies
from batchllm.observers.metrics import THROTTLED

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["PrometheusObserver"]

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
"""Bounds of the histograms: the client's own end at 10 s, and a long answer takes a minute."""

_MODEL: Final = ("provider", "model")
_COUNTED: Final = {
    ProcessingEvent.PROCESSING_STARTED: "batches",
    ProcessingEvent.RATE_LIMIT_HIT: "rate_limits",
    ProcessingEvent.HEDGE_STARTED: "hedges",
}


class PrometheusObserver(SpanObserver):
    """Counts items, calls, tokens and times in a registry of ``prometheus_client``.

    It may watch any number of runs and pools; make one for a program. ``MetricsObserver`` writes
    Prometheus' text without a further library, for a batch that ends before it is scraped.

    Example::

        prometheus_client.start_http_server(9090)
        watched = PrometheusObserver()
        await run_batch(prompts, strategy, observers=[watched])

    Args:
        registry: By default the client's own.
        prefix: Begins the name of each metric.

    Raises:
        ImportError: ``prometheus_client`` is not installed.
        ConfigError: The registry has such an observer already.
    """

    wanted_events = frozenset(
        {
            *_COUNTED,
            ProcessingEvent.COOLDOWN_ENDED,
            ProcessingEvent.ITEM_RETRY,
            ProcessingEvent.QUOTA_LEARNED,
            ProcessingEvent.SCOPE_PARKED,
        }
    )

    def __init__(
        self, registry: CollectorRegistry | None = None, *, prefix: str = "batchllm"
    ) -> None:
        client = _load()
        registry = client.REGISTRY if registry is None else registry
        self._facts = FactsOfStrategies()
        try:
            self._make(client, registry, prefix)
        except ValueError as error:
            msg = (
                f"the registry cannot take these metrics: {error}; make one PrometheusObserver for "
                "a registry and give it to every run, or give each a prefix of its own"
            )
            raise ConfigError(msg) from error

    def _make(self, client: Any, registry: Any, prefix: str) -> None:
        def counter(name: str, meaning: str, *labels: str) -> Any:
            return client.Counter(f"{prefix}_{name}", meaning, labels, registry=registry)

        def gauge(name: str, meaning: str, *labels: str) -> Any:
            return client.Gauge(
                f"{prefix}_{name}", meaning, labels, registry=registry, multiprocess_mode="livesum"
            )

        def histogram(name: str, meaning: str, *labels: str) -> Any:
            return client.Histogram(
                f"{prefix}_{name}", meaning, labels, registry=registry, buckets=_SECONDS
            )

        # The items first: if their name is taken, nothing has been registered.
        self._items = counter("items", "Items by how they ended.", "status")
        self._failures = counter("failures", "Failed items by category.", "category")
        self._item_seconds = histogram("item_duration_seconds", "Items, waiting included.")
        self._calls = counter("calls", "Calls by how they ended.", *_MODEL, "outcome")
        self._call_seconds = histogram("call_duration_seconds", "Calls.", *_MODEL)
        self._in_flight = gauge("calls_in_flight", "Calls under way.", *_MODEL)
        self._tokens = counter("tokens", "Tokens by kind.", *_MODEL, "kind")
        self._cost = counter("cost_usd", "The cost of items.")
        self._counted = {
            "batches": counter("batches", "Batches that were started."),
            "rate_limits": counter("rate_limits", "Pauses of a quota scope."),
            "hedges": counter("hedges", "Second calls for the slow tail."),
            "retries": counter("retries", "Attempts that failed and were repeated."),
            "throttled": counter("throttled_calls", "Calls that met a rate limit."),
        }
        self._paused = counter("cooldown_seconds", "Seconds that scopes were paused.")
        self._pace = gauge("learned_pace", "Calls per second that a scope allows.", "scope")
        self._parked = gauge("parked_scope", "Quota scopes that are parked.", "scope")

    def item_ended(self, item: Any, result: WorkItemResult[Any, Any] | None) -> None:
        """Count an item."""
        if result is None:
            self._items.labels("cancelled").inc()
            return
        status = _status_of(result)
        self._items.labels(status).inc()
        if status == "failed":
            self._failures.labels(str(result.error_category)).inc()
        if result.attempts:
            self._item_seconds.observe(result.timing.total)
        if result.cost is not None:
            self._cost.inc(result.cost)

    def call_started(self, item: Any, call: CallStart) -> tuple[str, str]:
        """Count a call that is under way from now on."""
        common = self._facts.of(call.strategy).common
        model = (common["gen_ai.provider.name"], common.get("gen_ai.request.model", ""))
        self._in_flight.labels(*model).inc()
        return model

    def call_ended(self, call: tuple[str, str], end: CallEnd) -> None:
        """Count a call with its time and its tokens."""
        self._in_flight.labels(*call).dec()
        outcome = "cancelled" if end.cancelled else str(end.category or "answered")
        self._calls.labels(*call, outcome).inc()
        self._call_seconds.labels(*call).observe(end.seconds)
        counts: Any = end.usage or {}
        for name, count in counts.items():
            if count and name != "total_tokens":  # the sum of others
                self._tokens.labels(*call, name.removesuffix("_tokens")).inc(count)

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Count what happens to the run and its scopes."""
        counted = _COUNTED.get(event)
        if counted is not None:
            self._counted[counted].inc()
        elif event is ProcessingEvent.ITEM_RETRY:
            throttled = data.get("error_category") in THROTTLED
            self._counted["throttled" if throttled else "retries"].inc()
        elif event is ProcessingEvent.COOLDOWN_ENDED:
            self._paused.inc(data.get("seconds", 0.0))
        elif event is ProcessingEvent.QUOTA_LEARNED and data.get("pace") is not None:
            self._pace.labels(data["scope"]).set(data["pace"])
        elif event is ProcessingEvent.SCOPE_PARKED:
            self._parked.labels(data["scope"]).set(1)


def _status_of(result: WorkItemResult[Any, Any]) -> str:
    if result.success:
        return "successful"
    if result.skipped:
        return "skipped"
    return "not_run" if result.not_run else "failed"


def _load() -> Any:
    try:
        return import_module("prometheus_client")
    except ImportError as error:
        msg = 'PrometheusObserver needs prometheus-client: pip install "batchllm[prometheus]"'
        raise ImportError(msg) from error
