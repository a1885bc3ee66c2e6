"""Map what goes wrong below this folder to ``TransportError``, once and for every provider.

Nothing from below survives in the result: no frame, whose locals hold requests and keys, no
request that an exception of httpx carries, and of the cause no more than its type and its words,
redacted. So functions here return errors, and their callers above the border raise them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import anyio
from attrs import frozen

from batchllm.core import (
    BatchError,
    CallError,
    MalformedResponseError,
    RecordedError,
    TransportError,
)
from batchllm.transport.exchange_errors import (
    CannotConnectError,
    ExchangeError,
    GarbageError,
    ReplyTooLargeError,
    TooManyFilesError,
)
from batchllm.transport.redact import Cleaner

__all__ = ["Border", "chain_of"]

_BILLED: Final = "the provider may have done, and billed, the work"
_OF_SOCKETS: Final = (
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)


@frozen
class Border:
    """Between an exchange and its caller.

    Attributes:
        host: Named in messages.
        clean: Takes keys and control characters out of what others say.
        max_body: The most bytes that a reply may have, unpacked.
    """

    host: str
    clean: Cleaner
    max_body: int

    def failure(self, error: Exception, library: Any = None) -> Exception:
        """Return the error to raise above the border in place of *error*.

        Args:
            error: What was raised below. One of ours, such as a ``ConfigError`` for a header,
                passes, without its frames.
            library: httpx or httpx2 where one of their transports is at work; httpx unless given.
        """
        if isinstance(error, (BatchError, CallError)):
            error.__context__ = None
            if not isinstance(error.__cause__, RecordedError):
                error.__cause__ = None
            return error.with_traceback(None)
        if isinstance(error, ExchangeError):
            return self._of_our_own(error)
        failure = self._of_others(error, library)
        if not any(self._shows_key(link) for link in chain_of(error, set())):
            failure.__cause__ = RecordedError(type(error).__name__, self.clean(str(error)))
        return failure

    def too_large(self, status: int) -> MalformedResponseError:
        """Return the error for a body that passes the limit."""
        msg = f"the reply of {self.host} is larger than {self.max_body:,} bytes"
        return MalformedResponseError(msg, status=status)

    def cut_off(self, received: int, declared: str = "") -> TransportError:
        """Return the error for a body that ended too early, or too late."""
        of = f" of {declared}" if declared else ""
        return TransportError(
            f"the reply of {self.host} is cut off after {received:,}{of} bytes; {_BILLED}"
        )

    def _of_our_own(self, error: ExchangeError) -> Exception:
        reason = self.clean(str(error))
        if isinstance(error, ReplyTooLargeError):
            return self.too_large(200)
        if isinstance(error, TooManyFilesError):
            return TransportError(f"no connection to {self.host}: {reason}", sent=False)
        if isinstance(error, CannotConnectError):
            return self._not_connected(reason)
        if isinstance(error, GarbageError):
            return TransportError(
                f"{self.host} sent a reply that is not HTTP/1.1 ({reason}); check base_url; "
                f"{_BILLED}"
            )
        return self._broken(reason)

    def _of_others(self, error: Exception, library: Any) -> TransportError:
        if library is None:
            import httpx as library  # not needed for errors of our own

        reason = self.clean(str(error)) or type(error).__name__
        if isinstance(error, library.ProxyError):
            return TransportError(
                f"the proxy on the way to {self.host} refused: {reason}; check the proxy settings "
                "(HTTPS_PROXY, NO_PROXY)",
                sent=False,
            )
        cannot = (library.ConnectError, library.ConnectTimeout, ConnectionRefusedError)
        if isinstance(error, cannot):
            return self._not_connected(reason)
        if isinstance(error, (library.PoolTimeout, library.UnsupportedProtocol)):
            return TransportError(f"no connection to {self.host}: {reason}", sent=False)
        if isinstance(error, library.LocalProtocolError):
            return TransportError(
                f"the request to {self.host} cannot be sent: {reason}; check the headers",
                sent=False,
            )
        if isinstance(error, (library.TransportError, *_OF_SOCKETS)):
            return self._broken(reason)
        return TransportError(
            f"the transport to {self.host} raised {type(error).__name__}: {reason}; if it is your "
            f"own (http=...), check it; {_BILLED}"
        )

    def _not_connected(self, reason: str) -> TransportError:
        return TransportError(
            f"could not connect to {self.host}: {reason}; check base_url, and that the server can "
            "be reached from here",
            sent=False,
            connected=False,
        )

    def _broken(self, reason: str) -> TransportError:
        return TransportError(
            f"the connection to {self.host} broke before a complete answer arrived: {reason}; "
            f"{_BILLED}"
        )

    def _shows_key(self, error: BaseException) -> bool:
        notes = getattr(error, "__notes__", ())
        texts = (str(error), repr(error), *map(str, notes))
        return any(self.clean.shows_key(text) for text in texts)


def chain_of(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """Give *error* and all that it came from or has in it, but those that were *seen*."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    behind = [error.__cause__, error.__context__]
    if isinstance(error, BaseExceptionGroup):
        behind += error.exceptions
    for each in behind:
        yield from chain_of(each, seen)
