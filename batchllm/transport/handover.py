"""The passing on of a reply: readers of what is usual, and how they come to h11 for the rest."""

from __future__ import annotations

from collections.abc import Callable

from batchllm.transport.parsing import Headers, ReplyReader, join_headers

__all__ = ["Handover", "make_h11_reader"]


def make_h11_reader() -> ReplyReader:
    """Return a reader on h11, which is loaded with the first: most runs have no reply for it."""
    from batchllm.transport.h11_reader import H11Reader

    return H11Reader()


class Handover:
    """The common part of readers that pass a reply on to another from its first byte.

    Args:
        make_other: Makes the reader that such a reply goes to.
    """

    __slots__ = (
        "_by_name",
        "_make_other",
        "_method",
        "_other",
        "headers",
        "pieces",
        "reusable",
        "status",
        "surplus",
    )

    def __init__(self, make_other: Callable[[], ReplyReader]) -> None:
        self._make_other = make_other
        self._start("")

    def _start(self, method: str) -> None:
        self._method = method
        self._other: ReplyReader | None = None
        self.status = 0
        self.headers: Headers = []
        self._by_name: dict[str, str] | None = None
        self.pieces: list[bytes] = []
        self.reusable = False
        self.surplus = False

    @property
    def by_name(self) -> dict[str, str]:
        """The headers by name, with the values of a repeated one joined."""
        return join_headers(self.headers) if self._by_name is None else self._by_name

    def _hand_over(self, data: bytes) -> bool:
        """Let the other reader read the reply, of which *data* has come so far."""
        self.pieces = []
        self._other = self._make_other()
        self._other.begin(self._method)
        return self._feed_other(data)

    def _feed_other(self, data: bytes) -> bool:
        assert self._other is not None
        whole = self._other.feed(data)
        self._take_from(self._other)
        return whole

    def _feed_eof_to_other(self) -> None:
        assert self._other is not None
        self._other.feed_eof()
        self._take_from(self._other)

    def _take_from(self, other: ReplyReader) -> None:
        self.status, self.headers = other.status, other.headers
        self.pieces, other.pieces = [*self.pieces, *other.pieces], []
        self.reusable, self.surplus = other.reusable, other.surplus
