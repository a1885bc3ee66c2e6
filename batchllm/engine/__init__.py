"""The engine: guarded calls, attempts, and the run of a batch with all its endings."""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
    from batchllm.engine.attempts import GiveUp, WaitThen, next_step
    from batchllm.engine.batch import Batch
    from batchllm.engine.bills import booking_of
    from batchllm.engine.budget_words import budget_spent, no_price
    from batchllm.engine.delivery import Collector, Delivery, OrderedResultStream, ResultStream
    from batchllm.engine.ending import CANCEL, DRAIN, Ending, Phase, Stop, cause_of
    from batchllm.engine.guard import (
        Failed,
        Ok,
        TimedOut,
        bounded,
        in_words,
        only_error,
        shielded,
    )
    from batchllm.engine.hooks import estimate_of, is_own
    from batchllm.engine.idset import IdSet
    from batchllm.engine.intake import END, BlockingSource, Source, blocking_source, pull, read_item
    from batchllm.engine.item import ItemRun
    from batchllm.engine.kept_spending import SPENT_ONLINE
    from batchllm.engine.post_processing import PostProcessor
    from batchllm.engine.prepared import PreparedItems
    from batchllm.engine.resources import Resources
    from batchllm.engine.resume import Incoming
    from batchllm.engine.run import Run
    from batchllm.engine.run_options import RunOptions
    from batchllm.engine.shelter import Shelter
    from batchllm.engine.spending import Spending, check_prices
    from batchllm.engine.threaded import InThread, in_thread
    from batchllm.engine.work_queue import WorkQueue
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.engine.attempts": "GiveUp WaitThen next_step",
            "batchllm.engine.batch": "Batch",
            "batchllm.engine.bills": "booking_of",
            "batchllm.engine.budget_words": "budget_spent no_price",
            "batchllm.engine.delivery": "Collector Delivery OrderedResultStream ResultStream",
            "batchllm.engine.ending": "CANCEL DRAIN Ending Phase Stop cause_of",
            "batchllm.engine.guard": "Failed Ok TimedOut bounded in_words only_error shielded",
            "batchllm.engine.hooks": "estimate_of is_own",
            "batchllm.engine.idset": "IdSet",
            "batchllm.engine.threaded": "InThread in_thread",
            "batchllm.engine.intake": "END BlockingSource Source blocking_source pull read_item",
            "batchllm.engine.item": "ItemRun",
            "batchllm.engine.kept_spending": "SPENT_ONLINE",
            "batchllm.engine.post_processing": "PostProcessor",
            "batchllm.engine.prepared": "PreparedItems",
            "batchllm.engine.resources": "Resources",
            "batchllm.engine.resume": "Incoming",
            "batchllm.engine.run": "Run",
            "batchllm.engine.run_options": "RunOptions",
            "batchllm.engine.shelter": "Shelter",
            "batchllm.engine.spending": "Spending check_prices",
            "batchllm.engine.work_queue": "WorkQueue",
        },
    )

__all__ = [
    "CANCEL",
    "DRAIN",
    "END",
    "SPENT_ONLINE",
    "Batch",
    "BlockingSource",
    "Collector",
    "Delivery",
    "Ending",
    "Failed",
    "GiveUp",
    "IdSet",
    "InThread",
    "Incoming",
    "ItemRun",
    "Ok",
    "OrderedResultStream",
    "Phase",
    "PostProcessor",
    "PreparedItems",
    "Resources",
    "ResultStream",
    "Run",
    "RunOptions",
    "Shelter",
    "Source",
    "Spending",
    "Stop",
    "TimedOut",
    "WaitThen",
    "WorkQueue",
    "blocking_source",
    "booking_of",
    "bounded",
    "budget_spent",
    "cause_of",
    "check_prices",
    "estimate_of",
    "in_thread",
    "in_words",
    "is_own",
    "next_step",
    "no_price",
    "only_error",
    "pull",
    "read_item",
    "shielded",
]
