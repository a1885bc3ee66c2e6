"""The index of what earlier runs finished: where the result of an item stands. Pure.

Of each result it keeps 16 bytes, so that ten million of them take 160 MB; a dictionary takes over a
gigabyte.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from attrs import define, field, frozen

from batchllm.journal import State
from batchllm.ray.segments import Header, Line

__all__ = ["Finished", "Place"]

_SHARDS: Final = 1_024
"""Ten million results make shards of ten thousand, which are sorted in a few milliseconds."""
_OFFSET_BITS: Final = 40
"""A segment has less than a terabyte, and there are less than 2²³ of them."""
_DONE: Final = 1 << 63


@frozen(order=True)
class Place:
    """The place of a result.

    Attributes:
        segment: Its number, in the order in which segments were added.
        offset: Bytes before it.
    """

    segment: int
    offset: int


@define(eq=False)
class _Shard:
    codes: array[int] = field(factory=lambda: array("Q"))
    places: array[int] = field(factory=lambda: array("Q"))
    sorted: bool = True

    def add(self, code: int, place: int) -> None:
        self.codes.append(code)
        self.places.append(place)
        self.sorted = False

    def find(self, code: int) -> list[int]:
        if not self.sorted:
            # By place within one code: the order in which runs, blocks and attempts came.
            pairs = sorted(zip(self.codes, self.places, strict=True))
            self.codes = array("Q", [code for code, _ in pairs])
            self.places = array("Q", [place for _, place in pairs])
            self.sorted = True
        begin = end = bisect_left(self.codes, code)
        while end < len(self.codes) and self.codes[end] == code:
            end += 1
        return self.places[begin:end].tolist()


@define(eq=False)
class Finished:
    """Finds the results of items that are finished. The first success of an item is its answer.

    Args:
        retry_failed: Whether items that failed count as not finished.
    """

    retry_failed: bool = False
    answers: int = field(default=0, init=False)
    """Results with an answer, those that came twice included."""
    _segments: int = field(default=0, init=False)
    _shards: dict[int, _Shard] = field(factory=dict, init=False)

    def add(self, lines: Iterable[Header | Line]) -> int:
        """Add a segment; later ones have higher numbers.

        Returns:
            Its number.
        """
        number = self._segments
        self._segments += 1
        for line in lines:
            # What failed by the key or the account says nothing of the item: it runs again.
            if not isinstance(line, Line) or line.state is State.BLOCKED:
                continue
            done = line.state is State.DONE
            if not done and self.retry_failed:
                continue
            self.answers += done
            code = int.from_bytes(line.key[:8], "little")
            place = number << _OFFSET_BITS | line.offset
            shard = self._shards.get(code % _SHARDS)
            if shard is None:
                shard = self._shards[code % _SHARDS] = _Shard()
            shard.add(code, place | (_DONE if done else 0))
        return number

    def find(self, key: bytes) -> list[Place]:
        """Return where the result of an item may be, the one that counts first.

        Successes come in the order in which they were added, failures behind them with the latest
        first. A place may have another item's result, since it is found by half of the key: the
        line there has the whole.
        """
        code = int.from_bytes(key[:8], "little")
        shard = self._shards.get(code % _SHARDS)
        if shard is None:
            return []
        found = shard.find(code)
        done = [place & ~_DONE for place in found if place & _DONE]
        failed = [place for place in found if not place & _DONE]
        return [
            Place(place >> _OFFSET_BITS, place & ((1 << _OFFSET_BITS) - 1))
            for place in (*done, *reversed(failed))
        ]
