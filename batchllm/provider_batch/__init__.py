"""Batches of the providers' own: half the price, hours instead of minutes, the same results."""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
    from batchllm.provider_batch.billing import HALF
    from batchllm.provider_batch.choosing import leaf_of, wire_of
    from batchllm.provider_batch.copies import check_hedge_budget
    from batchllm.provider_batch.driver import BatchDriver
    from batchllm.provider_batch.echo import check_echo
    from batchllm.provider_batch.jobs import JobsOfRun, events_of, jobs_of
    from batchllm.provider_batch.ledger import BatchLedger, read_chunks
    from batchllm.provider_batch.middleware import MiddlewareIn
    from batchllm.provider_batch.no_jobs import check_no_jobs
    from batchllm.provider_batch.options import BatchModeOptions, Mode, ModeSettings, read_mode
    from batchllm.provider_batch.parts import Given
    from batchllm.provider_batch.publishing import PlannedItems
    from batchllm.provider_batch.spool import folder_of
    from batchllm.provider_batch.states import Chunk, EndKind, Reason, State
    from batchllm.provider_batch.wires import BatchWire
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.provider_batch.billing": "HALF",
            "batchllm.provider_batch.choosing": "leaf_of wire_of",
            "batchllm.provider_batch.copies": "check_hedge_budget",
            "batchllm.provider_batch.driver": "BatchDriver",
            "batchllm.provider_batch.echo": "check_echo",
            "batchllm.provider_batch.jobs": "JobsOfRun events_of jobs_of",
            "batchllm.provider_batch.ledger": "BatchLedger read_chunks",
            "batchllm.provider_batch.middleware": "MiddlewareIn",
            "batchllm.provider_batch.no_jobs": "check_no_jobs",
            "batchllm.provider_batch.options": "BatchModeOptions Mode ModeSettings read_mode",
            "batchllm.provider_batch.parts": "Given",
            "batchllm.provider_batch.publishing": "PlannedItems",
            "batchllm.provider_batch.spool": "folder_of",
            "batchllm.provider_batch.states": "Chunk EndKind Reason State",
            "batchllm.provider_batch.wires": "BatchWire",
        },
    )

__all__ = [
    "HALF",
    "BatchDriver",
    "BatchLedger",
    "BatchModeOptions",
    "BatchWire",
    "Chunk",
    "EndKind",
    "Given",
    "JobsOfRun",
    "MiddlewareIn",
    "Mode",
    "ModeSettings",
    "PlannedItems",
    "Reason",
    "State",
    "check_echo",
    "check_hedge_budget",
    "check_no_jobs",
    "events_of",
    "folder_of",
    "jobs_of",
    "leaf_of",
    "read_chunks",
    "read_mode",
    "wire_of",
]
