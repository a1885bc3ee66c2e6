"""Readers of HTTP/1.1 replies: bytes in, status, headers and pieces of the body out.

A reader has three calls. ``begin`` starts a reply, ``feed`` takes bytes and returns whether the
reply is whole, and ``reusable`` says whether another request may follow on the connection. All
readers pass the same tests, so which of them is at work changes nothing but the cost.
"""

from __future__ import annotations

from typing import Final, Protocol

__all__ = ["MAX_HEAD", "Headers", "ReplyReader", "join_headers"]

Headers = list[tuple[str, str]]

MAX_HEAD: Final = 65_536
"""Bytes that the head of a reply may have, interim replies included. Providers send 1 to 4 kB;
gateways with large policies and cookies have been seen at 16 kB."""


def join_headers(headers: Headers) -> dict[str, str]:
    """Return *headers* by name, with the values of a repeated one joined."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name in found:
            value = f"{found[name]}, {value}"
        found[name] = value
    return found


class ReplyReader(Protocol):
    """Reads one reply after the other from one connection.

    Attributes:
        status: Of the reply; 0 until its head is whole.
        headers: Names in lower case, in the order in which they came.
        pieces: Of the body; the caller that takes them empties the list.
        reusable: Once the reply is whole, whether the connection may serve another request.
        surplus: Whether bytes came after the end of the reply.
    """

    status: int
    headers: Headers
    pieces: list[bytes]
    reusable: bool
    surplus: bool

    @property
    def by_name(self) -> dict[str, str]:
        """The headers by name, with the values of a repeated one joined."""
        ...

    def begin(self, method: str) -> None:
        """Prepare for the reply to a request with *method*."""
        ...

    def feed(self, data: bytes) -> bool:
        """Take what arrived and return whether the reply is whole.

        Raises:
            GarbageError: It is not HTTP/1.1, or its head is too long.
        """
        ...

    def feed_eof(self) -> None:
        """Take note that the server closed its side; the reply is whole if this returns.

        Raises:
            ClosedByServerError: The reply is cut off.
        """
        ...
