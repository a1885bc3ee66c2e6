"""The entry points of the one engine."""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
    from batchllm.api.batch_run import BatchRun
    from batchllm.api.blocking import run_batch_sync, stream_batch_sync
    from batchllm.api.one_call import call, call_result
    from batchllm.api.options import Concurrency, build_options
    from batchllm.api.pool import Pool, open_pool, serve_pool
    from batchllm.api.processor import LiveConfig, ParallelBatchProcessor
    from batchllm.api.run import Items, run_batch, stream_batch
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.api.batch_run": "BatchRun",
            "batchllm.api.blocking": "run_batch_sync stream_batch_sync",
            "batchllm.api.one_call": "call call_result",
            "batchllm.api.options": "Concurrency build_options",
            "batchllm.api.pool": "Pool open_pool serve_pool",
            "batchllm.api.processor": "LiveConfig ParallelBatchProcessor",
            "batchllm.api.run": "Items run_batch stream_batch",
        },
    )

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
