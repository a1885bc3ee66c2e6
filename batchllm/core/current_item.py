"""The item that the running task works on, for log lines and for strategies that want its id."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, Protocol

from attrs import frozen

__all__ = ["CurrentItem", "WorkedOn", "current_item", "work_on"]


class WorkedOn(Protocol):
    """Keeps the books of an item, attempt by attempt."""

    attempt: int
    batch: str

    @property
    def item_id(self) -> str:
        """The item's id."""
        ...


# Each item has a task of its own, and so a context of its own: nothing has to be reset.
_WORKED_ON: Final[ContextVar[WorkedOn | None]] = ContextVar("batchllm_item", default=None)


@frozen
class CurrentItem:
    """The item that the running task works on.

    Attributes:
        item_id: The item's id.
        attempt: The number of the attempt under way, from 1; 0 before the first.
        batch: Names the run; eight letters, drawn by chance.
    """

    item_id: str
    attempt: int
    batch: str


def work_on(item: WorkedOn) -> None:
    """Note that this task, and what it starts, works on *item* from here on."""
    _WORKED_ON.set(item)


def current_item() -> CurrentItem | None:
    """Return the item that this task works on; ``None`` outside of a run's items.

    It is there in strategies, middleware and post-processors, in the worker threads that they
    start by AnyIO, and in what they log.

    Example::

        async def execute(self, prompt, attempt, timeout):
            headers = {"x-item": current_item().item_id}
    """
    item = _WORKED_ON.get()
    return None if item is None else CurrentItem(item.item_id, item.attempt, item.batch)
