"""Observers that are called at once: where a run, an item or a call begins and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from batchllm.core.contracts import LLMCallStrategy
from batchllm.core.hooks import BaseObserver
from batchllm.core.items import LLMWorkItem
from batchllm.core.results import Termination, WorkItemResult
from batchllm.core.tally import Tally
from batchllm.core.usage import TokenUsage

__all__ = ["CallEnd", "CallStart", "RunStart", "SpanObserver"]


@frozen
class RunStart:
    """The beginning of a run.

    Attributes:
        batch: Names the run in logs; eight letters, drawn by chance.
        total: Items of the run, if it is known.
        pool: Whether its items are calls that come from outside, each in its caller's context.
    """

    batch: str
    total: int | None = None
    pool: bool = False


@frozen
class CallStart:
    """The beginning of a call, once it was let through.

    Attributes:
        item_id: The item for which it is made.
        strategy: What is called; never a composite, which makes no calls of its own.
        prompt: What the strategy gets.
        attempt: Which attempt it gets to know of, from 1.
    """

    item_id: str
    strategy: LLMCallStrategy[Any]
    prompt: Any = field(repr=False)
    attempt: int


@frozen
class CallEnd:
    """The end of a call: an answer, a failure, or neither if it was cancelled.

    Attributes:
        seconds: The time that it took, on the event loop's clock.
        usage: Its tokens; ``None`` if they are unknown.
        output: The value that the strategy returned.
        metadata: What it returned beside it.
        error: What went wrong.
        category: The kind of failure, as in ``WorkItemResult.error_category``.
        cancelled: Whether it was cut off, and has neither answer nor failure; maybe it is billed.
    """

    seconds: float
    usage: TokenUsage | None = None
    output: Any = field(default=None, repr=False)
    metadata: Mapping[str, Any] | None = field(default=None, repr=False)
    error: BaseException | None = None
    category: str | None = None
    cancelled: bool = False


class SpanObserver(BaseObserver):
    """Is also called where runs, items and calls begin and end, in the task that does it.

    ``on_event`` comes later, in a task of its own. These methods are called at once: a span or a
    context variable that one of them sets is there for all that the same task does next, such as
    the strategy and its HTTP client. So they are not async, have to be quick, and never wait.
    What one raises is reported once in ``BatchResult.warnings``, and changes nothing else.

    What a ``…_started`` method returns is passed to those that follow from it. Every item and
    call that started also ends, in the same task, however that comes.
    """

    def run_started(self, run: RunStart) -> Any:
        """See a run begin, in the context of its caller."""
        return None

    def run_ended(self, run: Any, termination: Termination, tally: Tally) -> None:
        """See it end.

        Args:
            run: What ``run_started`` returned.
            termination: How it ended.
            tally: Sums over its results.
        """

    def item_started(self, run: Any, item: LLMWorkItem[Any, Any, Any]) -> Any:
        """See work on an item begin, in the context of its submitter.

        Args:
            run: What ``run_started`` returned.
            item: As it was submitted.
        """
        return None

    def item_ended(self, item: Any, result: WorkItemResult[Any, Any] | None) -> None:
        """See it end.

        Args:
            item: What ``item_started`` returned.
            result: ``None`` if it was cancelled from outside, and has no result.
        """

    def call_started(self, item: Any, call: CallStart) -> Any:
        """See a call begin.

        Args:
            item: What ``item_started`` returned.
            call: What is called, and for whom.
        """
        return None

    def call_ended(self, call: Any, end: CallEnd) -> None:
        """See it end.

        Args:
            call: What ``call_started`` returned.
            end: The answer, or what went wrong.
        """
