"""Watching a batch without changing it: metrics, spans, log lines, and the bases for your own."""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
    from batchllm.core import BaseObserver, ProcessingEvent, SpanObserver, current_item
    from batchllm.observers.logs import ItemContext, LoggingObserver
    from batchllm.observers.metrics import MetricsObserver
    from batchllm.observers.otel import OpenTelemetryObserver
    from batchllm.observers.progress import ProgressBar, ProgressObserver
    from batchllm.observers.prometheus_client import PrometheusObserver
    from batchllm.observers.quantiles import Quantiles
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.core": "BaseObserver ProcessingEvent SpanObserver current_item",
            "batchllm.observers.logs": "ItemContext LoggingObserver",
            "batchllm.observers.metrics": "MetricsObserver",
            "batchllm.observers.otel": "OpenTelemetryObserver",
            "batchllm.observers.progress": "ProgressBar ProgressObserver",
            "batchllm.observers.prometheus_client": "PrometheusObserver",
            "batchllm.observers.quantiles": "Quantiles",
        },
    )

__all__ = [
    "BaseObserver",
    "ItemContext",
    "LoggingObserver",
    "MetricsObserver",
    "OpenTelemetryObserver",
    "ProcessingEvent",
    "ProgressBar",
    "ProgressObserver",
    "PrometheusObserver",
    "Quantiles",
    "SpanObserver",
    "current_item",
]
