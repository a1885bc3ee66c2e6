"""The journal of a batch: what is finished is on the disk before anyone sees it."""

from batchllm.journal.entries import Entry, Registrar
from batchllm.journal.identity import ItemKey
from batchllm.journal.ledger import Choice, Ledger, Reason, State, Verdict
from batchllm.journal.settings import (
    Durability,
    Journal,
    OnChanged,
    OnResume,
    read_journal,
)
from batchllm.journal.store import Opened, Store
from batchllm.journal.worker import (
    OpenWorker,
    open_inline_worker,
    open_thread_worker,
)
from batchllm.journal.writer import NOT_READ, JournalWriter, Taken, open_journal

__all__ = [
    "NOT_READ",
    "Choice",
    "Durability",
    "Entry",
    "ItemKey",
    "Journal",
    "JournalWriter",
    "Ledger",
    "OnChanged",
    "OnResume",
    "OpenWorker",
    "Opened",
    "Reason",
    "Registrar",
    "State",
    "Store",
    "Taken",
    "Verdict",
    "open_inline_worker",
    "open_journal",
    "open_thread_worker",
    "read_journal",
]
