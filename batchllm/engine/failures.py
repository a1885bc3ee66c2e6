"""The meaning of failed calls: failures that the engine makes, and the judgement of all others."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any, Final

from attrs import define, field, frozen

from batchllm.classifiers import DefaultErrorClassifier, classify
from batchllm.core import (
    BatchError,
    CallError,
    CallTooLargeError,
    Category,
    ErrorClassifier,
    ErrorInfo,
    FrameworkTimeoutError,
    ItemStopped,
    LLMCallStrategy,
    ProgramError,
    ScopeParkedError,
    StallError,
    StrategyError,
    message_of,
    where_raised,
)
from batchllm.engine.ending import Ending
from batchllm.engine.guard import in_words
from batchllm.engine.item import ItemRun

__all__ = [
    "BugLog",
    "Failure",
    "judge",
    "no_permit",
    "out_of_time",
    "sentence_of",
    "stopped",
    "timed_out",
    "unusable",
]

logger = logging.getLogger("batchllm")

_DEFAULT: Final = DefaultErrorClassifier()

_MOST_BUGS: Final = 100
"""Distinct bugs that are logged in one run; by then the reader knows."""

_STOPPED: Final = ErrorInfo(False, False, False, Category.STOPPED)
_PARKED: Final = ErrorInfo(False, False, False, Category.PARKED)
_TOO_LARGE: Final = ErrorInfo(False, False, False, Category.TOO_LARGE)
_PROGRAM: Final = ErrorInfo(False, False, False, Category.PROGRAM_ERROR)
_UNKNOWN: Final = ErrorInfo(False, False, False, Category.UNKNOWN)
_ATTEMPT_TIMEOUT: Final = ErrorInfo(True, False, True, Category.TIMEOUT)
_ITEM_TIMEOUT: Final = ErrorInfo(False, False, True, Category.TIMEOUT)


# Their messages are whole sentences of ours.
_SPEAK_FOR_THEMSELVES: Final = (CallError, BatchError)
_SENTENCE: Final = 500
"""Characters that are kept of what a failed attempt said: a provider's words, not its page."""


@frozen
class Failure:
    """A call failed with *error*, which means *info*; *made* says whether it was made at all.

    *fault* is what was wrong with the classifier that was asked about it.
    """

    error: BaseException
    info: ErrorInfo
    made: bool = True
    fault: str | None = None

    @cached_property  # wanted twice, and the search for keys takes 0.4 µs a letter
    def in_short(self) -> str:
        """The words of the error to the user, cut if they are very long."""
        sentence = sentence_of(self.error)
        return sentence if len(sentence) <= _SENTENCE else f"{sentence[: _SENTENCE - 1]}…"

    @property
    def of_the_strategy(self) -> bool:
        """Return whether it concerns the strategy, and not merely the run or the scope."""
        return self.info not in (_STOPPED, _PARKED)


def sentence_of(error: BaseException) -> str:
    """Return what *error* says to the user, without keys."""
    speaks = isinstance(error, _SPEAK_FOR_THEMSELVES)
    return (speaks and message_of(error)) or in_words(error)


def stopped(ending: Ending) -> Failure:
    """Return the failure of a call that is not made, since the run is ending."""
    error = ItemStopped(f"not run: {ending.describe().reason}")
    return Failure(error, _STOPPED, made=False)


def unusable(error: StrategyError) -> Failure:
    """Return that of a call which is not made, since a hook fits no accepted shape."""
    return Failure(error, _PROGRAM, made=False)


def no_permit(error: ScopeParkedError | CallTooLargeError) -> Failure:
    """Return that of a call which is not made, since its gate will never let it through."""
    info = _PARKED if isinstance(error, ScopeParkedError) else _TOO_LARGE
    return Failure(error, info, made=False)


def out_of_time(item: ItemRun, now: float, waited: str = "") -> Failure:
    """Return that of a call which is not made: its item has no time left, having *waited*."""
    return Failure(_item_timeout(item, now, waited), _ITEM_TIMEOUT, made=False)


def _item_timeout(item: ItemRun, now: float, waited: str = "") -> FrameworkTimeoutError:
    """Return the error of an item whose own time is over."""
    name, seconds = item.bound(now)
    msg = (
        f"Framework timeout after {seconds:.1f}s: the item used up {name}; raise it, "
        f"or let it make fewer attempts{'; ' + waited if waited else ''}"
    )
    return FrameworkTimeoutError(msg, seconds=seconds, final=True)


def timed_out(
    item: ItemRun, seconds: float, now: float, *, stalled: float | None, final: bool
) -> CallError:
    """Return the error of a call that was cut off after *seconds*.

    Args:
        item: Whose call it was.
        seconds: What the call had.
        now: The event loop's clock.
        stalled: Seconds without a further piece, where that is what ended a streamed answer.
        final: Whether the item's own time is over with it.
    """
    if stalled is not None:
        return StallError(f"the streamed answer paused for more than stall_timeout ({stalled:g} s)")
    if final:
        return _item_timeout(item, now)
    msg = f"Framework timeout after {seconds:.1f}s: the attempt took too long"
    return FrameworkTimeoutError(msg, seconds=seconds)


def judge(
    strategy: LLMCallStrategy[Any], error: BaseException, custom: ErrorClassifier | None
) -> Failure:
    """Say what the error of a call of *strategy* means; *custom* is asked first."""
    if isinstance(error, FrameworkTimeoutError):
        info = _ITEM_TIMEOUT if error.final else _ATTEMPT_TIMEOUT
    elif isinstance(error, ItemStopped):
        info = _STOPPED
    elif isinstance(error, ProgramError):
        info = _PROGRAM
    elif isinstance(error, Exception):
        before = len(getattr(error, "__notes__", ()))
        info = classify(error, custom, getattr(strategy, "error_classifier", None) or _DEFAULT)
        if info.error_category == Category.PROGRAM_ERROR:
            said = getattr(error, "__notes__", ())[before:]
            return Failure(error, info, fault="; ".join(said) or None)
    else:
        info = _UNKNOWN
    return Failure(error, info)


@define(eq=False)
class BugLog:
    """Logs the program errors of one run, each once, whatever number of items fail with it."""

    _logged: set[str] = field(factory=set, init=False)

    def note(self, item_id: str, error: BaseException) -> None:
        """Log *error* of an item, unless one of its kind from the same line was logged before."""
        where = where_raised(error)
        key = f"{type(error).__name__} {where or error}"
        if key in self._logged or len(self._logged) >= _MOST_BUGS:
            return
        self._logged.add(key)
        logger.error(
            "%s%s; item %s failed with it, and it is not tried again (said once for all items)",
            in_words(error),
            f", at {where}" if where else "",
            item_id,
        )
