"""Calls that fail on and on: when a run ends with everything left as it is, in place of waiting."""

from __future__ import annotations

from typing import Final

import anyio
from attrs import define, field

from batchllm.core import EndCause, ProviderError, TransportError
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.refusals import is_of_the_account

__all__ = ["Outage"]

_BLACKOUT: Final = 6 * 3_600.0
"""Seconds without one good answer after which the run ends: no outage of a provider was as long."""


@define(eq=False)
class Outage:
    """Knows for how long no call was answered as it should be, whatever it was for.

    Args:
        board: Ends the run.
    """

    board: Board
    _since: float | None = field(default=None, init=False)

    def good(self) -> None:
        """Note a good answer."""
        self._since = None

    def failed(self, error: ProviderError | TransportError | TimeoutError) -> None:
        """Note a call that failed; end the run if that is for the account, or has lasted too long.

        What fails says nothing of the batch: it goes on, and so does the next run.
        """
        now = anyio.current_time()
        if self._since is None:
            self._since = now
        if isinstance(error, ProviderError) and is_of_the_account(error):
            self.board.end(
                EndCause.ACCOUNT_PROBLEM,
                f"{error}; the batches go on: set that right, and type the same again",
            )
        elif now - self._since > _BLACKOUT:
            self.board.end(
                EndCause.ENDPOINT_DOWN,
                f"there was no good answer for six hours, the last was {error}; the batches "
                "go on, and the same typed again goes on with them",
            )
