"""The journal of a batch: what is finished is on the disk before anyone sees it."""

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
