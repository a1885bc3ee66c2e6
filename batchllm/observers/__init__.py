"""Watching a batch without changing it: metrics, spans, log lines, and the bases for your own."""

from batchllm.core import BaseObserver, ProcessingEvent, SpanObserver, current_item
from batchllm.observers.logs import ItemContext, LoggingObserver
from batchllm.observers.metrics import MetricsObserver
from batchllm.observers.otel import OpenTelemetryObserver
from batchllm.observers.progress import ProgressBar, ProgressObserver
from batchllm.observers.prometheus_client import PrometheusObserver
from batchllm.observers.quantiles import Quantiles

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
