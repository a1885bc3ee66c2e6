"""The health of one gate's endpoint: the breaker, and the items that wait for its verdict."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from attrs import define, field

from batchllm.core import Outcome
from batchllm.policy import FailureRow, OutageBreaker, Verdict

__all__ = ["Health"]

_LOOK_AGAIN = 1.0
_QUIET = 2
"""Looks, of a second each, at a scope in which nothing happens: then nothing will decide."""

_NO_ANSWER = frozenset({Outcome.TRANSIENT, Outcome.TIMEOUT})


@define(eq=False)
class Health:
    """Turns what calls report into what the breaker learns.

    Args:
        breaker: Decides.
    """

    breaker: OutageBreaker
    _undecided: dict[anyio.Event, FailureRow] = field(factory=dict, init=False)

    def judge(
        self,
        outcome: Outcome | None,
        now: float,
        item: object,
        canary: int,
        untried_left: Callable[[], bool],
    ) -> FailureRow | None:
        """Learn from the end of one call; *outcome* is ``None`` for one that was cut off.

        Returns:
            The row of failures that it belongs to, if it is one.
        """
        row: FailureRow | None = None
        if outcome in _NO_ANSWER:
            row = self.breaker.on_failure(now, item, canary, untried_left=untried_left())
        elif outcome is None or outcome is Outcome.UNKNOWN:
            self.breaker.on_silence(now, canary)
        else:
            self.breaker.on_answer(now, canary)
        if self._undecided:
            self._wake(untried_left())
        return row

    async def is_given_back(
        self, row: FailureRow, untried_left: Callable[[], bool], busy: Callable[[], bool]
    ) -> bool:
        """Wait until it is decided whether the failures of *row* are an outage's.

        Without untried items, or with nothing under way, there is nothing to wait for: then they
        are not.

        Args:
            row: What ``judge`` returned.
            untried_left: Says whether the breaker would have anything to protect.
            busy: Says whether calls of the scope are under way or waiting.
        """
        quiet = 0
        while row.verdict is Verdict.PENDING and untried_left() and quiet < _QUIET:
            decided = anyio.Event()
            self._undecided[decided] = row
            try:
                with anyio.move_on_after(_LOOK_AGAIN):
                    await decided.wait()
            finally:
                self._undecided.pop(decided, None)
            quiet = 0 if busy() else quiet + 1
        return row.verdict is Verdict.GIVEN_BACK

    def _wake(self, untried_left: bool) -> None:
        for decided, row in self._undecided.items():
            if not untried_left or row.verdict is not Verdict.PENDING:
                decided.set()
