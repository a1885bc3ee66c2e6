"""One item: call, classify, wait, again; it ends in one result.

The loop is plain code: what to do after a failure is decided by ``next_step``, which is pure.
"""

from __future__ import annotations

import logging
import math
from typing import Any

from attrs import define, field, frozen

from batchllm.classifiers import failed_usage, status_of
from batchllm.core import (
    AttemptFailure,
    Category,
    ErrorInfo,
    LLMCallStrategy,
    Outcome,
    Reply,
    RetryConfig,
    TokenUsage,
    WorkItemResult,
    with_notes,
)
from batchllm.engine.call import Call
from batchllm.engine.call_context import CallContext
from batchllm.engine.ending import Phase
from batchllm.engine.failures import BugLog, Failure, sentence_of
from batchllm.engine.frames import drop_locals
from batchllm.engine.guard import in_words
from batchllm.engine.item import ItemRun
from batchllm.engine.retry_hooks import RetryHooks
from batchllm.engine.waiting import Window
from batchllm.policy import RetrySchedule, Verdict, overload_pause

__all__ = ["Attempts", "GiveUp", "WaitThen", "answer", "failed_result", "next_step"]

logger = logging.getLogger("batchllm")

_SHARED = frozenset({Outcome.THROTTLED, Outcome.OVERLOADED})
_NO_ANSWER = frozenset({Outcome.TRANSIENT, Outcome.TIMEOUT})
_MOST_OVERLOADS = 50
"""Overloads in a row after which an item fails: with waits of 12 s in the mean they are the ten
minutes after which an endpoint that does not answer is given up."""


@frozen
class WaitThen:
    """Try again after *seconds*.

    Attributes:
        counts: Whether the failed attempt counts towards ``max_attempts``. One that met a
            limit of the scope does not: its gate makes it wait, and all other calls with it.
    """

    seconds: float
    counts: bool


@frozen
class GiveUp:
    """The item has failed; *reason* is added to the error where the error alone is no reason."""

    reason: str | None = None


def next_step(
    info: ErrorInfo,
    *,
    attempt: int,
    refusals: int,
    overloads: int = 0,
    max_attempts: int,
    retry: RetryConfig,
    schedule: RetrySchedule,
    previous: float | None = None,
) -> WaitThen | GiveUp:
    """Return what to do after a failed call.

    Args:
        info: What its error means.
        attempt: The number of the attempt that failed, from 1.
        refusals: How often the item has met a limit of its scope, this time included.
        overloads: How many calls in a row the server refused to it for being overloaded.
        max_attempts: Attempts that the item has.
        retry: The retry settings.
        schedule: Gives the backoff.
        previous: The item's last backoff; decorrelated jitter grows from it.
    """
    if info.outcome in _SHARED:
        times = retry.max_rate_limit_retries
        if times is not None and refusals > times:
            return GiveUp(f"it met a limit more often than max_rate_limit_retries ({times})")
        if info.outcome is Outcome.OVERLOADED and info.suggested_wait is None:
            # The scope may not pause for it, since the server takes other calls meanwhile.
            if overloads > _MOST_OVERLOADS:
                return GiveUp(f"the server was overloaded at each of its {overloads} calls")
            return WaitThen(overload_pause(overloads, schedule.rng), counts=False)
        return WaitThen(0.0, counts=False)
    if not info.is_retryable:
        return GiveUp()
    if attempt >= max_attempts:
        return GiveUp(f"after {attempt} attempts" if max_attempts > 1 else None)
    if info.error_category == Category.BAD_OUTPUT:
        return WaitThen(info.suggested_wait or 0.0, counts=True)
    return WaitThen(
        schedule.wait(attempt, floor=info.suggested_wait, previous=previous), counts=True
    )


@define(eq=False)
class Attempts:
    """Takes items through their attempts.

    Args:
        context: What calls need.
        schedule: Gives the backoff.
        window: Items that wait hold no room in it.
        hooks: Called after each failed attempt that will be followed by another.
    """

    context: CallContext
    schedule: RetrySchedule
    window: Window
    hooks: RetryHooks
    bugs: BugLog = field(factory=BugLog, init=False)
    _timeout: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        limit = self.context.config.attempt_timeout
        self._timeout = math.inf if limit is None else limit

    async def run(self, item: ItemRun, strategy: LLMCallStrategy[Any]) -> WorkItemResult[Any, Any]:
        """Call until the item has its answer or has failed for good."""
        context = self.context
        config, ending = context.config, context.ending
        call = Call(context, item, strategy, self._timeout)
        refusals, overloads = 0, 0
        previous: float | None = None
        while True:
            attempt = item.attempt = item.charged + 1
            item.begun = item.spent
            item.unanswered = None  # of the attempt before: a composite may fail without a call
            try:
                ended = await call.make(item.work.prompt, attempt)
            except BaseException:
                item.cut_off = call.cut_off
                raise
            attempt = item.charged + 1  # an outage may have given some back meanwhile
            if isinstance(ended, Reply):
                item.end_attempt(attempt)
                if config.enable_detailed_logging:
                    _log_attempt(item, attempt, None)
                return answer(item, ended)
            item.end_attempt(attempt if ended.made else item.attempts, _how_it_ended(ended))
            refusals += ended.info.outcome in _SHARED
            overloads = overloads + 1 if ended.info.outcome is Outcome.OVERLOADED else 0
            step = _charge(item, ended) or next_step(
                ended.info,
                attempt=item.charged,
                refusals=refusals,
                overloads=overloads,
                max_attempts=item.work.max_attempts or config.retry.max_attempts,
                retry=config.retry,
                schedule=self.schedule,
                previous=previous,
            )
            if item.pending and self._would_fail(item, step, ended.info):
                step = await self._await_verdict(item) or step
            previous = step.seconds or previous if isinstance(step, WaitThen) else previous
            if config.enable_detailed_logging:
                _log_attempt(item, attempt, ended, _in_short(step))
            if isinstance(step, GiveUp):
                if item.pending and ending.stopping:
                    return self._no_time(item, ended)
                reason = step.reason or ended.fault
                if ended.info.error_category == Category.PROGRAM_ERROR:
                    self.bugs.note(item.work.item_id, ended.error)
                return failed_result(item, ended.error, ended.info.error_category, reason)
            if not self._may_go_on(item, step.seconds):
                return self._no_time(item, ended)
            await self.hooks.before_retry(item, attempt, ended)
            if not await self._back_off(item, step.seconds):
                return self._no_time(item, ended)

    def _would_fail(self, item: ItemRun, step: WaitThen | GiveUp, info: ErrorInfo) -> bool:
        """Return whether *step* fails the item for lack of attempts or time."""
        context = self.context
        if context.ending.stopping:
            return False
        if isinstance(step, GiveUp):
            return info.is_retryable or info.is_timeout
        return not self._may_go_on(item, step.seconds)

    async def _await_verdict(self, item: ItemRun) -> WaitThen | None:
        """Wait until it is known whether the item's failures are an outage's.

        The first items that fail in an outage would be lost before there are enough failures to
        know it for one.
        """
        context = self.context
        before, last = item.charged, item.pending[-1]
        with self.window.asleep(), context.ending.until(Phase.DRAINING):
            await last.gate.is_given_back(last.row, context.callers)
        item.settle()
        return WaitThen(0.0, counts=False) if item.charged < before else None

    def _may_go_on(self, item: ItemRun, seconds: float) -> bool:
        """Return whether there is time for another attempt after a wait of *seconds*."""
        context = self.context
        return not context.ending.stopping and item.left(context.clock()) > seconds

    async def _back_off(self, item: ItemRun, seconds: float) -> bool:
        """Sleep outside the window; return whether the run goes on after it."""
        context = self.context
        if seconds > 0:
            await context.waits.back_off(item, seconds)
        item.settle()
        return not context.ending.stopping

    def _no_time(self, item: ItemRun, failure: Failure) -> WorkItemResult[Any, Any]:
        context = self.context
        if context.ending.stopping:
            reason = f"no further attempt: {context.ending.describe().reason}"
            return failed_result(item, failure.error, Category.STOPPED, reason)
        name, seconds = item.bound(context.clock())
        return failed_result(
            item,
            failure.error,
            failure.info.error_category,
            f"no time for another attempt within {name} ({seconds:g} s)",
        )


def _charge(item: ItemRun, ended: Failure) -> WaitThen | None:
    """Count a failed attempt; return what to do next if it is known that an outage took it."""
    outcome, unanswered = ended.info.outcome, item.unanswered
    if outcome in _NO_ANSWER and ended.made and unanswered is not None:
        gate, row = unanswered
        item.charge_for_now(gate, row)
        item.settle()
        if row.verdict is Verdict.GIVEN_BACK:
            return WaitThen(0.0, counts=False)  # its gate makes it wait
    elif outcome not in _SHARED:
        item.charge()
    return None


def _in_short(step: WaitThen | GiveUp) -> str:
    if isinstance(step, GiveUp):
        return "no further attempt"
    return f"again in {step.seconds:.2f} s" if step.counts else "again when its limit allows it"


def _log_attempt(item: ItemRun, attempt: int, failure: Failure | None, then: str = "") -> None:
    """Write the line that ``enable_detailed_logging`` asks for; no prompt, no output."""
    name, seconds = item.work.item_id, item.spans[-2]
    if failure is None:
        logger.debug("Item %s, attempt %d: answered in %.2f s", name, attempt, seconds)
        return
    logger.debug(
        "Item %s, attempt %d: failed in %.2f s with %s (%s), %s",
        name,
        attempt,
        seconds,
        in_words(failure.error),
        failure.info.error_category,
        then,
    )


def answer(item: ItemRun, reply: Reply) -> WorkItemResult[Any, Any]:
    """Return the result of an item that has its answer."""
    metadata = reply.metadata
    if item.notes:
        metadata = with_notes(metadata, item.notes)
    return WorkItemResult(
        item.work.item_id,
        True,
        reply.output,
        None,
        item.work.context,
        TokenUsage() if item.usage is None else item.usage,
        metadata,
        attempts=item.attempts,
        spans=item.spans,
        cost=item.bill(),
        attempt_failures=item.failures,
        submission_index=item.index,
    )


def _how_it_ended(ended: Failure) -> AttemptFailure:
    """Keep what a failed attempt was, since its exception gives way to the next one's."""
    category, error = ended.info.error_category, ended.error
    return AttemptFailure(ended.in_short, category, status_of(error), failed_usage(error))


def failed_result(
    item: ItemRun,
    error: BaseException | None,
    category: str,
    reason: str | None = None,
) -> WorkItemResult[Any, Any]:
    """Return the result of an item that has no answer.

    What a strategy has put into its exception's ``output_for_result`` becomes the output: part
    of an answer, or what a provider reported about an answer that it withheld.
    """
    text = None if error is None else sentence_of(error)
    if error is not None:
        drop_locals(error)  # after its words, which it may take from its reply
    sentence = " – ".join(part for part in (text, reason) if part) or category
    return WorkItemResult(
        item.work.item_id,
        False,
        getattr(error, "output_for_result", None),
        sentence,
        item.work.context,
        TokenUsage() if item.usage is None else item.usage,
        {"notes": item.notes} if item.notes else None,
        exception=error,
        error_category=category,
        attempts=item.attempts,
        spans=item.spans,
        cost=item.bill(),
        attempt_failures=item.failures,
        submission_index=item.index,
    )
