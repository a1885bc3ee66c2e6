"""Items past middleware on their way in, before they are written into a batch.

Once in each run, as online: a run that goes on with batches of another process takes its items past
middleware again, so that what middleware keeps of them is there when their results come out, and
so that a call online is made with the prompt that middleware gave. Nothing is written anew by that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import anyio
from attrs import define, field

from batchllm.core import LLMWorkItem, WorkItemResult

__all__ = ["MiddlewareIn"]

Work: TypeAlias = LLMWorkItem[Any, Any, Any]
WentIn: TypeAlias = "tuple[Work, WorkItemResult[Any, Any] | None]"


@define(eq=False)
class MiddlewareIn:
    """Takes items past the middleware of one run.

    Args:
        go_in: Takes one item, and its position: what it is from then on, and its result if it
            has one.
        at_once: Items that are on their way at once.
    """

    go_in: Callable[[Work, int], Awaitable[WentIn]]
    at_once: int
    _said: bool = field(default=False, init=False)

    async def take(self, items: Sequence[tuple[Work, int]]) -> list[WentIn]:
        """Take several items; what became of them is in their order."""
        done: dict[int, WentIn] = {}
        limiter = anyio.CapacityLimiter(self.at_once)

        async def take_one(place: int, work: Work, position: int) -> None:
            async with limiter:
                done[place] = await self.go_in(work, position)

        async with anyio.create_task_group() as group:
            for place, (work, position) in enumerate(items):
                group.start_soon(take_one, place, work, position, name=work.item_id)
        return [done[place] for place in range(len(items))]

    def note_another(self, item_id: str, warnings: list[str]) -> None:
        """Say, of the first such item, that its prompt is another one than that which was sent."""
        if not self._said:
            self._said = True
            warnings.append(
                f"item {item_id!r} is in a batch with another prompt than before_process gives it "
                "now: the answer is to the earlier one (said once); let before_process give the "
                "same item the same prompt"
            )
