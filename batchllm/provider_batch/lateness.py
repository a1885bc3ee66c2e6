"""The deadline of a run: when batches are brought back, which first, and when it is too late."""

from __future__ import annotations

import anyio
from attrs import define

from batchllm.core import EndCause
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.options import ModeSettings
from batchllm.provider_batch.pacing import PullBack
from batchllm.provider_batch.states import Chunk, State

__all__ = ["Lateness"]


@define(eq=False)
class Lateness:
    """Says which batches would be late.

    Args:
        board: The chunks.
        settings: The options.
        pull_back: When a batch would be late; ``None`` without a deadline.
    """

    board: Board
    settings: ModeSettings
    pull_back: PullBack | None

    def next_at(self, now: float) -> float:
        """Return when something is to be done, on the loop's clock."""
        if self.pull_back is None or self.settings.on_late == "wait":
            return float("inf")
        # Behind the deadline there is nothing to do before items wait for a batch, and that wakes.
        times = (self.pull_back.at(self.remaining()), self.pull_back.deadline)
        return min((at for at in times if at > now), default=float("inf"))

    @property
    def goes_online(self) -> bool:
        """Return whether what waits for a batch will be called for online in time."""
        return self.pull_back is not None and self.settings.on_late == "online"

    def is_near(self, now: float) -> bool:
        """Return whether the deadline is near, whatever is done about it."""
        return self.pull_back is not None and now >= self.pull_back.at(self.remaining())

    def is_hurried(self) -> bool:
        """Return whether there is no time for another batch before the deadline."""
        if self.pull_back is None or not self.goes_online:
            return False
        return anyio.current_time() >= self.pull_back.at(self.remaining())

    def remaining(self) -> int:
        """Return how many items wait for batches."""
        return sum(self.board.waiting[chunk.number] for chunk in self.board.wanted)

    def is_late(self, now: float) -> bool:
        """Return whether batches are to be brought back, and end the run if it is too late."""
        if self.pull_back is None or self.settings.on_late == "wait":
            return False
        if now >= self.pull_back.deadline and self.board.wanted:
            ids = ", ".join(one.batch_id for one in self.board.wanted if one.batch_id)
            self.board.end(
                EndCause.BATCH_TIMEOUT,
                f"the deadline is over, and these batches still run: {ids or 'none was created'}; "
                "the same typed again goes on with them",
            )
            return False
        return self.settings.on_late == "online" and now >= self.pull_back.at(self.remaining())

    def next_chunk(self) -> Chunk | None:
        """Return the next chunk to bring back: one with the least progress first."""
        states = (State.SPOOLED, State.UPLOADING, State.UPLOADED, State.RUNNING)
        late = self.board.in_state(*states)
        return min(late, key=lambda one: (one.done or 0) / one.lines, default=None)
