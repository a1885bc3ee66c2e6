"""Watching a batch without changing it: metrics, log lines, and the base to write your own."""

from batchllm.core import BaseObserver, ProcessingEvent
from batchllm.observers.logs import LoggingObserver
from batchllm.observers.metrics import MetricsObserver
from batchllm.observers.progress import ProgressBar, ProgressObserver
from batchllm.observers.quantiles import Quantiles

__all__ = [
    "BaseObserver",
    "LoggingObserver",
    "MetricsObserver",
    "ProcessingEvent",
    "ProgressBar",
    "ProgressObserver",
    "Quantiles",
]
