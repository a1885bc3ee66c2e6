"""One quota for any number of processes and machines: gates that lease what calls may take."""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
    from batchllm.shared.gate import SharedGate
    from batchllm.shared.http_store import SECRET_VARIABLE, HttpLeases
    from batchllm.shared.server import LeaseServer, serve_leases
    from batchllm.shared.sqlite_store import SqliteLeases
    from batchllm.shared.stores import GateUnreachableError, LeaseStore, MemoryLeases
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.shared.gate": "SharedGate",
            "batchllm.shared.http_store": "SECRET_VARIABLE HttpLeases",
            "batchllm.shared.server": "LeaseServer serve_leases",
            "batchllm.shared.sqlite_store": "SqliteLeases",
            "batchllm.shared.stores": "GateUnreachableError LeaseStore MemoryLeases",
        },
    )

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
