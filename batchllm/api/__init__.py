"""The entry points of the one engine."""

from batchllm.api.batch_run import BatchRun
from batchllm.api.blocking import run_batch_sync, stream_batch_sync
from batchllm.api.one_call import call, call_result
from batchllm.api.options import Concurrency, build_options
from batchllm.api.pool import Pool, open_pool, serve_pool
from batchllm.api.processor import LiveConfig, ParallelBatchProcessor
from batchllm.api.run import Items, run_batch, stream_batch

__all__ = [
    "BatchRun",
    "Concurrency",
    "Items",
    "LiveConfig",
    "ParallelBatchProcessor",
    "Pool",
    "build_options",
    "call",
    "call_result",
    "open_pool",
    "run_batch",
    "run_batch_sync",
    "serve_pool",
    "stream_batch",
    "stream_batch_sync",
]
