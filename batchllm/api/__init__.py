"""The faces of the one engine."""

from batchllm.api.blocking import run_batch_sync, stream_batch_sync
from batchllm.api.run import BatchRun, Items, call, call_result, run_batch, stream_batch

__all__ = [
    "BatchRun",
    "Items",
    "call",
    "call_result",
    "run_batch",
    "run_batch_sync",
    "stream_batch",
    "stream_batch_sync",
]
