"""Leave items out by a condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batchllm.core import SKIP, BaseMiddleware, LLMWorkItem

__all__ = ["SkippingMiddleware"]


class SkippingMiddleware(BaseMiddleware):
    """Leaves out the items for which a condition holds; their results say ``skipped``.

    Example::

        SkippingMiddleware(lambda item: not item.prompt.strip())

    Args:
        condition: Called with each item before its first call.
    """

    def __init__(self, condition: Callable[[LLMWorkItem[Any, Any, Any]], bool]) -> None:
        self.condition = condition

    async def before_process(self, work_item: LLMWorkItem[Any, Any, Any]) -> Any:
        """``SKIP`` where the condition holds."""
        return SKIP if self.condition(work_item) else None
