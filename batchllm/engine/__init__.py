"""The engine: guarded calls, attempts, and the run of a batch with all its endings."""

from batchllm.engine.attempts import GiveUp, WaitThen, failed_result, next_step
from batchllm.engine.ending import CANCEL, DRAIN, Ending, Phase, Stop
from batchllm.engine.guard import (
    Failed,
    Ok,
    TimedOut,
    bounded,
    in_words,
    only_error,
    raise_as_it_was,
    shielded,
)
from batchllm.engine.in_thread import InThread, in_thread
from batchllm.engine.intake import BlockingSource, blocking_source
from batchllm.engine.item import ItemRun
from batchllm.engine.outbox import Collector, OrderedOutbox, Outbox
from batchllm.engine.post_processing import PostProcessor
from batchllm.engine.resources import Resources
from batchllm.engine.runtime import RunOptions, Runtime
from batchllm.engine.scheduler import Scheduler
from batchllm.engine.shelter import Shelter
from batchllm.engine.work_queue import WorkQueue

__all__ = [
    "CANCEL",
    "DRAIN",
    "BlockingSource",
    "Collector",
    "Ending",
    "Failed",
    "GiveUp",
    "InThread",
    "ItemRun",
    "Ok",
    "OrderedOutbox",
    "Outbox",
    "Phase",
    "PostProcessor",
    "Resources",
    "RunOptions",
    "Runtime",
    "Scheduler",
    "Shelter",
    "Stop",
    "TimedOut",
    "WaitThen",
    "WorkQueue",
    "blocking_source",
    "bounded",
    "failed_result",
    "in_thread",
    "in_words",
    "next_step",
    "only_error",
    "raise_as_it_was",
    "shielded",
]
