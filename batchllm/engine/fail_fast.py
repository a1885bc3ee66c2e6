"""The watch over failures that every further call would meet as well."""

from __future__ import annotations

from typing import Any, Final

from attrs import define, field

from batchllm.core import Category, FailFast, WorkItemResult

__all__ = ["FailureWatch"]

_ALIKE: Final = 20
"""Items in a row that the server has to refuse with the very same words before it answers any: a
parameter or a model that it does not take is refused at each item. The words of one that is too
long have its length."""


@define(eq=False)
class FailureWatch:
    """Counts the failures in a row that end a run. Live state; pure.

    Args:
        rule: What counts, and how many.
    """

    rule: FailFast
    _in_row: int = field(default=0, init=False)
    _words: str = field(default="", init=False)
    _alike: int = field(default=0, init=False)

    def on_success(self) -> None:
        """Note that an item was answered."""
        self._in_row = self._alike = 0

    def on_failure(
        self, result: WorkItemResult[Any, Any], *, answered: bool, resumed: bool = False
    ) -> str | None:
        """Note that an item failed; return why the run has to end, if it has.

        Args:
            result: That of the item.
            answered: Whether any item of the run was answered so far. If none was, an address at
                which no API answers counts as well, and a request that is always refused alike.
            resumed: Whether an earlier run finished items of the same settings. What comes first
                now is then what was refused before, or was added, and no sample of all.
        """
        # After one good answer it is the gateway that has lost its way, and may find it again.
        lost = not answered and getattr(result.exception, "wrong_address", False)
        if self.rule.counts(result.error_category) or lost:
            self._in_row += 1
        elif not result.not_run:
            self._in_row = 0
        if self._in_row >= self.rule.after:
            many = "item" if self._in_row == 1 else "items in a row"
            return f"{self._in_row} {many} failed with {result.error_category}, {_last(result)}"
        if not (answered or resumed) and self._is_refused_alike(result):
            return (
                f"none was answered, and {_ALIKE} items in a row were refused alike, "
                f"{_last(result)}; if others may fare better, give fail_fast=None"
            )
        return None

    def _is_refused_alike(self, result: WorkItemResult[Any, Any]) -> bool:
        if result.not_run:
            return False
        words = result.error or ""
        refused = result.error_category == Category.INVALID_REQUEST
        self._alike = self._alike + 1 if refused and words == self._words else int(refused)
        self._words = words
        return self._alike >= _ALIKE


def _last(result: WorkItemResult[Any, Any]) -> str:
    return f"the last with: {result.error}"
