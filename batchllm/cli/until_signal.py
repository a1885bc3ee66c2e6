"""Waiting for Ctrl-C or SIGTERM, for commands that serve until then."""

from __future__ import annotations

import signal

import anyio

__all__ = ["until_signal"]


async def until_signal() -> None:
    """Wait for a signal that ends the program; where none can be watched for, for ever."""
    try:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                return
    except NotImplementedError:
        await anyio.sleep_forever()
