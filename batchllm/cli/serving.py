"""Commands that serve until Ctrl-C or SIGTERM: how they begin, wait and end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio

from batchllm.cli.exits import UsageError
from batchllm.engine import only_error

__all__ = ["cannot_listen", "check_port", "run_server", "serve_until_signal", "until_signal"]


def check_port(port: int) -> None:
    """Pass if there is such a port.

    Raises:
        UsageError: There is no such port.
    """
    if not 0 <= port <= 65_535:
        msg = f"--port is {port}; give a number from 0 to 65535"
        raise UsageError(msg)


def run_server(serve: Callable[[], Awaitable[None]]) -> None:
    """Run *serve* in an event loop, to its end or to Ctrl-C."""
    # Where the event loop cannot watch for signals, Ctrl-C raises.
    with suppress(KeyboardInterrupt):
        anyio.run(serve)


async def serve_until_signal(url: str) -> None:
    """Print the address of a server that listens, and wait for a signal that ends the program."""
    print(url, flush=True)
    print("serving; Ctrl-C ends it", file=sys.stderr)
    await until_signal()


async def until_signal() -> None:
    """Wait for a signal that ends the program; where none can be watched for, for ever."""
    try:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                return
    except NotImplementedError:
        await anyio.sleep_forever()


def cannot_listen(host: str, port: int, errors: BaseExceptionGroup[OSError]) -> UsageError:
    """Return the error of a server that found its address taken, or out of reach."""
    return UsageError(f"cannot listen at {host}, port {port}: {only_error(errors)}")
