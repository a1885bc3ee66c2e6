"""The entry points of the one engine."""

from batchllm.api.blocking import run_batch_sync, stream_batch_sync
from batchllm.api.one_call import call, call_result
from batchllm.api.pool import Pool, open_pool, serve_pool
from batchllm.api.processor import LiveConfig, ParallelBatchProcessor
from batchllm.api.run import BatchRun, Items, run_batch, stream_batch

__all__ = [
    "BatchRun",
    "Items",
    "LiveConfig",
    "ParallelBatchProcessor",
    "Pool",
    "call",
    "call_result",
    "open_pool",
    "run_batch",
    "run_batch_sync",
    "serve_pool",
    "stream_batch",
    "stream_batch_sync",
]
