"""Bounds on the time of a hook, and notes on one that failed."""

from __future__ import annotations

import math

from attrs import frozen

from batchllm.core import ProcessorConfig
from batchllm.engine.guard import Failed, TimedOut, in_words
from batchllm.engine.item import ItemRun

__all__ = ["HookBound", "note_hook"]


@frozen
class HookBound:
    """The seconds that one hook has, and the setting that they come from, in words.

    The end of the batch is no part of it: the run cancels its hooks then, as it does its calls.
    """

    seconds: float | None
    setting: str
    by_item: bool = False

    @classmethod
    def of(
        cls, config: ProcessorConfig, item: ItemRun, now: float, *, least: float = 0.0
    ) -> HookBound:
        """Return the bound of a hook of *item* that begins *now*.

        Args:
            config: Has ``hook_timeout``.
            item: What it has left bounds the hook, too.
            now: The event loop's clock.
            least: Seconds that the hook has even if the item has none left: a result that is
                there is still to be seen by the hooks after it.
        """
        limit = math.inf if config.hook_timeout is None else config.hook_timeout
        left = max(item.left(now), least)
        if left < limit:
            name, seconds = item.bound(now)
            return cls(left, f"what {name} ({seconds:g} s) left of it", by_item=True)
        if limit == math.inf:
            return cls(None, "no bound")
        return cls(limit, f"hook_timeout ({limit:g} s)")


def note_hook(
    item: ItemRun, hook: str, ended: object, bound: HookBound, then: str = "was cancelled"
) -> str | None:
    """Note on *item* what went wrong in a *hook* that does not fail it, and what *then* became.

    Returns:
        The note; ``None`` if nothing went wrong.
    """
    if isinstance(ended, Failed):
        text = f"{hook} raised {in_words(ended.error)}"
    elif isinstance(ended, TimedOut):
        text = f"{hook} took longer than {bound.setting} and {then}"
    else:
        return None
    item.note(text)
    return text
