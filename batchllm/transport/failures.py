"""Maps what an HTTP library raises to ``TransportError``, once and for every provider."""

from __future__ import annotations

from typing import Any, Final

import anyio

from batchllm.core import TransportError
from batchllm.transport.redact import Redactor

__all__ = ["failures_of", "transport_error"]

_OF_SOCKETS: Final = (
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)


def failures_of(library: Any) -> tuple[type[Exception], ...]:
    """The exceptions that mean a failed connection, in httpx or a library of its face."""
    return (library.TransportError, *_OF_SOCKETS)


def transport_error(error: Exception, library: Any, host: str, redact: Redactor) -> TransportError:
    """The ``TransportError`` for *error*, to be raised ``from`` it.

    Args:
        error: One of :func:`failures_of`.
        library: The library that *error* may come from.
        host: Named in the message.
        redact: Cleans the library's own words.
    """
    if isinstance(error, library.TransportError):
        # Tools that print a chained exception would print the request with its key.
        told: Any = error
        told.request = library.Request("POST", f"https://{host}")
    reason = redact(str(error)) or type(error).__name__
    if isinstance(error, library.ProxyError):
        return TransportError(
            f"the proxy on the way to {host} refused: {reason}; check the proxy settings "
            "(HTTPS_PROXY, NO_PROXY)",
            sent=False,
        )
    if isinstance(error, (library.ConnectError, library.ConnectTimeout, ConnectionRefusedError)):
        return TransportError(
            f"could not connect to {host}: {reason}; check base_url, and that the server can be "
            "reached from here",
            sent=False,
        )
    if isinstance(error, (library.PoolTimeout, library.UnsupportedProtocol)):
        return TransportError(f"no connection to {host}: {reason}", sent=False)
    if isinstance(error, library.LocalProtocolError):
        return TransportError(
            f"the request to {host} cannot be sent: {reason}; check the headers", sent=False
        )
    return TransportError(
        f"the connection to {host} broke before a complete answer arrived: {reason}; the "
        "provider may have done, and billed, the work"
    )
