"""The cap on calls in flight of one scope: the least of all that allow some number.

The user declares a number, the server may report one, and a search may look for the one that
serves best. A cap that refusals alone suggest is no part of it: that one may be wrong, and is
tried and given up (``cap_search.py``).
"""

from __future__ import annotations

from math import inf

from attrs import define, field

from batchllm.policy.concurrency_search import ConcurrencySearch

__all__ = ["CallCap"]


@define(eq=False)
class CallCap:
    """The cap on calls in flight. Live state.

    Args:
        declared: The user's number; ``None`` is no cap.
        search: Looks for the number that serves best.

    Attributes:
        limit: Calls that may be in flight now.
    """

    declared: int | None = None
    search: ConcurrencySearch | None = None
    limit: float = field(default=inf, init=False)
    _reported: int | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._join()

    def declare(self, calls: int | None) -> None:
        """Take another number of the user's; ``None`` is no cap."""
        self.declared = calls
        self._join()

    def report(self, calls: int | None) -> None:
        """Take the number that the server reported; ``None`` if it has not."""
        if calls != self._reported:
            self._reported = calls
            self._join()

    def on_ok(self, now: float, sent_at: float, in_flight: int) -> None:
        """Note a success, with *in_flight* calls at once when it came."""
        if self.search is not None:
            self.search.on_ok(now, sent_at, in_flight)
            self._join()

    def on_refused(self, now: float, sent_at: float) -> None:
        """Note that the server refused a call for its quota."""
        if self.search is not None:
            self.search.on_refused(now, sent_at)
            self._join()

    def _join(self) -> None:
        self.limit = inf if self.declared is None else self.declared
        if self.search is not None:
            self.limit = min(self.limit, self.search.limit)
        if self._reported is not None:
            self.limit = min(self.limit, self._reported)
