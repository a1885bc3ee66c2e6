"""The common part of readers that pass on to h11 what is not plain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchllm.transport.parsing import Headers

if TYPE_CHECKING:
    from batchllm.transport.h11_reader import H11Reader

__all__ = ["H11Fallback"]


class H11Fallback:
    """The fields of a reply, and h11 once it reads the reply from its first byte."""

    __slots__ = ("_h11", "headers", "pieces", "reusable", "status", "surplus")

    def __init__(self) -> None:
        self._h11: H11Reader | None = None
        self.status = 0
        self.headers: Headers = []
        self.pieces: list[bytes] = []
        self.reusable = False
        self.surplus = False

    def _begin_h11(self, method: str) -> None:
        # Imported here, with its library: most runs have no reply that needs it.
        from batchllm.transport.h11_reader import H11Reader

        self._h11 = H11Reader()
        self._h11.begin(method)

    def _feed_h11(self, data: bytes) -> bool:
        assert self._h11 is not None
        whole = self._h11.feed(data)
        self._take_from_h11()
        return whole

    def _take_from_h11(self) -> None:
        other = self._h11
        assert other is not None
        self.status, self.headers = other.status, other.headers
        self.pieces, other.pieces = [*self.pieces, *other.pieces], []
        self.reusable, self.surplus = other.reusable, other.surplus
