"""``batchllm serve-gate``: one quota for the runs of several machines."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.serving import cannot_listen, check_port, run_server, serve_until_signal
from batchllm.core import ConfigError
from batchllm.engine import only_error
from batchllm.shared import (
    SECRET_VARIABLE,
    LeaseStore,
    MemoryLeases,
    SqliteLeases,
    serve_leases,
)

__all__ = ["serve_slots"]


def serve_slots(file: Path | None, *, host: str, port: int) -> ExitCode:
    """Give the calls of many runs the slots of one quota, over HTTP, until Ctrl-C.

    Args:
        file: Keeps what was sent through a restart.
        host: Where to listen.
        port: 0 takes one that is free.

    Raises:
        UsageError: There is no secret, or the port is taken.
    """
    check_port(port)
    secret = os.environ.get(SECRET_VARIABLE, "")
    if not secret:
        msg = (
            f"set {SECRET_VARIABLE}, which runs have to know; such as by: "
            f"export {SECRET_VARIABLE}=$(openssl rand -hex 16)"
        )
        raise UsageError(msg)
    try:
        store = MemoryLeases(lost=True) if file is None else SqliteLeases(file)
        run_server(partial(_serve, store, secret, host, port))
    except ConfigError as error:
        raise UsageError(str(error)) from None
    return ExitCode.OK


async def _serve(store: LeaseStore, secret: str, host: str, port: int) -> None:
    try:
        async with serve_leases(store, secret=secret, host=host, port=port) as server:
            await serve_until_signal(server.url)
    except* OSError as errors:
        raise cannot_listen(host, port, errors) from None
    except* ConfigError as errors:
        raise UsageError(str(only_error(errors))) from None
