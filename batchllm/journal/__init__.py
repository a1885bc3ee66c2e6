"""The journal of a batch: what is finished is on the disk before anyone sees it."""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
    from batchllm.journal.cleaning import Cleaned, check_idle, clean
    from batchllm.journal.commits import WRITE_SECONDS, Commit
    from batchllm.journal.disks import create_private, is_network_disk, size_on_disk
    from batchllm.journal.entries import Entry, Identity, Registrar, state_of
    from batchllm.journal.identity import ItemKey, differences, digest_of
    from batchllm.journal.ledger import Choice, Ledger, Reason, State, Verdict
    from batchllm.journal.opening import JournalLike, open_journal
    from batchllm.journal.output import (
        OutputState,
        StoredRow,
        begin_rewrite,
        end_rewrite,
        missing_rows,
        output_state,
        refused_rows,
        reset_output,
        stored_rows,
    )
    from batchllm.journal.payload import encode_result, replay_result
    from batchllm.journal.reader import JournalReader, RunRecord, StoredCall, open_reader
    from batchllm.journal.runs import Opened, earlier_inputs
    from batchllm.journal.schema import is_journal
    from batchllm.journal.settings import (
        Durability,
        Journal,
        OnChanged,
        OnResume,
        read_journal,
    )
    from batchllm.journal.store import Store
    from batchllm.journal.survey import Brief, RunSettings, Sampled, StoredItem, Survey
    from batchllm.journal.values import plain_output
    from batchllm.journal.worker import (
        OpenWorker,
        open_inline_worker,
        open_thread_worker,
    )
    from batchllm.journal.writer import NOT_READ, JournalWriter, Taken
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.journal.cleaning": "Cleaned check_idle clean",
            "batchllm.journal.commits": "WRITE_SECONDS Commit",
            "batchllm.journal.disks": "create_private is_network_disk size_on_disk",
            "batchllm.journal.entries": "Entry Identity Registrar state_of",
            "batchllm.journal.identity": "ItemKey differences digest_of",
            "batchllm.journal.ledger": "Choice Ledger Reason State Verdict",
            "batchllm.journal.opening": "JournalLike open_journal",
            "batchllm.journal.output": """
                OutputState StoredRow begin_rewrite end_rewrite missing_rows
                output_state refused_rows reset_output stored_rows
            """,
            "batchllm.journal.payload": "encode_result replay_result",
            "batchllm.journal.reader": "JournalReader RunRecord StoredCall open_reader",
            "batchllm.journal.runs": "Opened earlier_inputs",
            "batchllm.journal.schema": "is_journal",
            "batchllm.journal.settings": "Durability Journal OnChanged OnResume read_journal",
            "batchllm.journal.store": "Store",
            "batchllm.journal.survey": "Brief RunSettings Sampled StoredItem Survey",
            "batchllm.journal.values": "plain_output",
            "batchllm.journal.worker": "OpenWorker open_inline_worker open_thread_worker",
            "batchllm.journal.writer": "NOT_READ JournalWriter Taken",
        },
    )

__all__ = [
    "NOT_READ",
    "WRITE_SECONDS",
    "Brief",
    "Choice",
    "Cleaned",
    "Commit",
    "Durability",
    "Entry",
    "Identity",
    "ItemKey",
    "Journal",
    "JournalLike",
    "JournalReader",
    "JournalWriter",
    "Ledger",
    "OnChanged",
    "OnResume",
    "OpenWorker",
    "Opened",
    "OutputState",
    "Reason",
    "Registrar",
    "RunRecord",
    "RunSettings",
    "Sampled",
    "State",
    "Store",
    "StoredCall",
    "StoredItem",
    "StoredRow",
    "Survey",
    "Taken",
    "Verdict",
    "begin_rewrite",
    "check_idle",
    "clean",
    "create_private",
    "differences",
    "digest_of",
    "earlier_inputs",
    "encode_result",
    "end_rewrite",
    "is_journal",
    "is_network_disk",
    "missing_rows",
    "open_inline_worker",
    "open_journal",
    "open_reader",
    "open_thread_worker",
    "output_state",
    "plain_output",
    "read_journal",
    "refused_rows",
    "replay_result",
    "reset_output",
    "size_on_disk",
    "state_of",
    "stored_rows",
]
