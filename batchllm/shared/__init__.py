"""One quota for any number of processes and machines: gates that lease what calls may take."""

from batchllm.shared.gate import SharedGate
from batchllm.shared.http_store import SECRET_VARIABLE, HttpLeases
from batchllm.shared.server import LeaseServer, serve_leases
from batchllm.shared.sqlite_store import SqliteLeases
from batchllm.shared.stores import GateUnreachableError, LeaseStore, MemoryLeases

__all__ = [
    "SECRET_VARIABLE",
    "GateUnreachableError",
    "HttpLeases",
    "LeaseServer",
    "LeaseStore",
    "MemoryLeases",
    "SharedGate",
    "SqliteLeases",
    "serve_leases",
]
