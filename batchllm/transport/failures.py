"""Maps what a transport raises to ``TransportError``, once and for every provider.

A transport may be a user's own, so nothing that it raises is taken on trust: its words are
redacted, and where a key stands anywhere in the chain behind it, the chain is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NoReturn

import anyio

from batchllm.core import BatchError, CallError, TransportError
from batchllm.transport.redact import Redactor

__all__ = ["raise_failure"]

_OF_SOCKETS: Final = (
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)


def raise_failure(error: Exception, library: Any, host: str, redact: Redactor) -> NoReturn:
    """Raise the ``TransportError`` for *error*, which is its cause if that shows no key.

    Args:
        error: What the transport raised. An error of ours, such as a ``ConfigError`` for a
            header, passes as it is.
        library: httpx, or the library of its face that *error* may come from.
        host: Named in the message.
        redact: Cleans the transport's own words.
    """
    if isinstance(error, (BatchError, CallError)):
        raise error
    failure = _failure(error, library, host, redact)
    # Before anything is printed: an exception of the library holds the request with its key.
    chain = list(_chain(error, set()))
    for link in chain:
        if isinstance(link, library.RequestError):
            told: Any = link
            told.request = library.Request("POST", f"https://{host}")
    if not any(_shows_key(link, redact) for link in chain):
        raise failure from error
    try:
        raise failure from None
    finally:
        failure.__context__ = None  # "from None" hides it from tracebacks, and only from those


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    behind = [error.__cause__, error.__context__]
    if isinstance(error, BaseExceptionGroup):
        behind += error.exceptions
    for each in behind:
        yield from _chain(each, seen)


def _shows_key(error: BaseException, redact: Redactor) -> bool:
    notes = getattr(error, "__notes__", ())
    return any(redact(text) != text for text in (str(error), repr(error), *map(str, notes)))


def _failure(error: Exception, library: Any, host: str, redact: Redactor) -> TransportError:
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
    if isinstance(error, (library.TransportError, *_OF_SOCKETS)):
        return TransportError(
            f"the connection to {host} broke before a complete answer arrived: {reason}; the "
            "provider may have done, and billed, the work"
        )
    return TransportError(
        f"the transport to {host} raised {type(error).__name__}: {reason}; if it is your own "
        "(http=...), check it; the provider may have done, and billed, the work"
    )
