"""The errors of one exchange on a connection, below the border of this folder.

None of these leaves it: callers get a ``TransportError``, an SDK's client gets the exception of
its own HTTP library (``border.py`` and ``adapters.py``). They hold words, never a request.
"""

from __future__ import annotations

__all__ = [
    "CannotConnectError",
    "ClosedByServerError",
    "ConnectionLostError",
    "ExchangeError",
    "GarbageError",
    "ReplyTooLargeError",
    "TooManyFilesError",
]


class ExchangeError(Exception):
    """Base of what ends an exchange.

    Attributes:
        sent: Whether the request may have reached the server.
    """

    sent: bool = True


class CannotConnectError(ExchangeError):
    """No connection could be made; nothing was sent."""

    sent = False


class TooManyFilesError(CannotConnectError):
    """The process may not open another file descriptor."""


class ConnectionLostError(ExchangeError):
    """The connection ended before the reply was whole."""


class ClosedByServerError(ConnectionLostError):
    """The server closed its side before the reply was whole."""


class GarbageError(ExchangeError):
    """The bytes that arrived are not HTTP/1.1."""


class ReplyTooLargeError(ExchangeError):
    """The body is larger than allowed."""
