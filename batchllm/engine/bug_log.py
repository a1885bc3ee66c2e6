"""Bugs of the user's own code: each is logged once, with the line that it comes from."""

from __future__ import annotations

import logging

from attrs import define, field

from batchllm.core import where_raised
from batchllm.engine.guard import in_words

__all__ = ["BugLog"]

logger = logging.getLogger("batchllm")

_MOST = 100
"""Distinct bugs that are logged in one run; by then the reader knows."""


@define(eq=False)
class BugLog:
    """Logs the program errors of one run, each once, whatever number of items fail with it."""

    _logged: set[str] = field(factory=set, init=False)

    def note(self, item_id: str, error: BaseException) -> None:
        """Log *error* of an item, unless one of its kind from the same line was logged before."""
        where = where_raised(error)
        key = f"{type(error).__name__} {where or error}"
        if key in self._logged or len(self._logged) >= _MOST:
            return
        self._logged.add(key)
        logger.error(
            "%s%s; item %s failed with it, and it is not tried again (said once for all items)",
            in_words(error),
            f", at {where}" if where else "",
            item_id,
        )
