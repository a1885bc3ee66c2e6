"""The replies of a busy scope that need not be taken in, since one just before said as much.

To take one in takes 20 to 40 µs for each limit that it names, and of a thousand a second nearly all
say the same: that much is left. What the last one left is counted down by what is sent meanwhile,
so only what others take of the limit is seen later, by a fiftieth of a second.
"""

from __future__ import annotations

from typing import Final

from batchllm.core import LimitHint

__all__ = ["says_as_much"]

_OFTEN: Final = 0.02
"""Seconds within which one reply is enough: fifty a second are 0.4 % of a core with two limits."""
_ALL_AT_FIRST: Final = 64
"""Replies that are taken in at any rate: thrice as many as any rule about kinds waits for."""
_MUCH: Final = 0.5
"""Share of a limit that is much; half of that has to be left by our own count as well."""


def says_as_much(
    hint: LimitHint, amount: int | None, left: float, *, since: float, replies: int
) -> bool:
    """Return whether a reply says no more than the one before it: that much is left.

    No call waits for want of it: as soon as our own count comes near to what is much, the next
    reply counts, whatever it leaves.

    Args:
        hint: What the reply said of a limit.
        amount: The limit itself, as known before.
        left: What the last one that was taken in left, less what was sent since.
        since: Seconds since then.
        replies: How many were taken in so far.
    """
    if since >= _OFTEN or replies < _ALL_AT_FIRST or amount is None or hint.amount != amount:
        return False
    much = _MUCH * amount
    return hint.remaining is not None and hint.remaining >= much and left >= much / 2
