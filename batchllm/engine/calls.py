"""The one guarded call: admit, bound, execute, report, book, ``on_error``.

Every call of every strategy goes this way, also those that a composite makes through
``state.call``. A leaf (it has a quota scope) holds one permit, and its deadline, round its
``execute`` alone; a composite holds neither, so nothing that it waits for can wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import anyio
from attrs import define, field

from batchllm.classifiers import failed_usage
from batchllm.core import (
    ErrorClassifier,
    ErrorInfo,
    LLMCallStrategy,
    Outcome,
    PrepareError,
    ProcessorConfig,
    ProgramError,
    QuotaScope,
    Reply,
    RetryState,
    ServerHint,
    StrategyError,
)
from batchllm.engine.ending import Ending
from batchllm.engine.estimates import ONE_REQUEST, Estimates
from batchllm.engine.failures import Failure, judge, out_of_time, stopped, timed_out, unusable
from batchllm.engine.guard import Ok, bounded, contains, left_open, settle
from batchllm.engine.hedging import Hedging
from batchllm.engine.hook_bounds import HookBound
from batchllm.engine.hooks import HookTable, StrategyShape
from batchllm.engine.item import ItemRun
from batchllm.engine.lifecycle import Lifecycle
from batchllm.engine.strategy_calls import execute, tell_of_failure
from batchllm.engine.waiting import Waiting
from batchllm.gate import CallerLimits, Gate, Permit

__all__ = ["CallSite", "Calls"]

CallEnded: TypeAlias = "Reply | Failure"


@define(eq=False)
class CallSite:
    """The engine's side of a ``RetryState``, for one strategy of one item."""

    calls: Calls
    item: ItemRun
    strategy: LLMCallStrategy[Any]
    scope: anyio.CancelScope | None = None
    permit: Permit | None = None
    deadline: float = math.inf
    stalled_after: float | None = None

    def progress(self) -> None:
        """A streamed request began, or a piece of its answer arrived: the next has to follow."""
        limit = self.calls.config.stall_timeout
        if self.scope is None or limit is None:
            return
        at = self.calls.clock() + limit
        self.stalled_after = limit if at < self.deadline else None
        self.scope.deadline = min(self.deadline, at)

    def observe(self, hint: ServerHint) -> None:
        """A reply told something about limits."""
        if self.permit is not None:
            self.permit.observe(hint)

    async def call(
        self, inner: LLMCallStrategy[Any], prompt: Any, attempt: int, timeout: float
    ) -> Reply:
        """Make a guarded call of *inner* on behalf of a composite."""
        if self.strategy.quota_scope is not None:
            name = type(self.strategy).__name__
            msg = (
                f"{name} calls another strategy through state.call while it holds a permit of its "
                f"own; set quota_scope = None on {name} to make it a composite"
            )
            raise ProgramError(msg)
        site = CallSite(self.calls, self.item, inner)
        state = RetryState(self.item.values, _guard=site)
        ended = await self.calls.make(site, state, prompt, attempt, timeout)
        if isinstance(ended, Reply):
            return ended
        self.item.last_failure = ended
        raise ended.error

    def explain(self, error: Exception) -> ErrorInfo:
        """What *error* means: as it was judged where it arose, else as this strategy's own."""
        last = self.item.last_failure
        if isinstance(last, Failure) and last.error is error:
            return last.info
        return self.calls.judge(self, error).info

    def is_closed(self, inner: LLMCallStrategy[Any]) -> bool:
        """Whether *inner* has to wait for its scope, or all its parts have to."""
        if inner.quota_scope is not None:
            return self.calls.gate_of(inner.quota_scope).closed
        return bool(inner.parts) and all(self.is_closed(part) for part in inner.parts)

    def is_unanswered(self, inner: LLMCallStrategy[Any]) -> bool:
        """Return whether a call of *inner* would wait for an endpoint that does not answer."""
        if inner.quota_scope is not None:
            return self.calls.gate_of(inner.quota_scope).unanswered
        return bool(inner.parts) and all(self.is_unanswered(part) for part in inner.parts)


@define(eq=False)
class Calls:
    """Makes the guarded calls of one run.

    Args:
        config: The run's settings.
        gate_of: The gate of a quota scope.
        callers: The run's cap on calls in flight over all scopes.
        hooks: How strategies are called.
        lifecycle: Gets strategies ready.
        ending: Whether calls may still start.
        classifier: The user's classifier, asked before the strategy's own.
        clock: Seconds on the event loop's clock.
        batch_deadline: When the batch is cancelled; strategies are told how long that leaves.

    Attributes:
        hedging: Makes slow calls a second time, where the settings say so.
        waiting: Where items wait for their permits.
        estimates: What calls take from limits on tokens.
    """

    config: ProcessorConfig
    gate_of: Callable[[QuotaScope], Gate]
    callers: CallerLimits
    hooks: HookTable
    lifecycle: Lifecycle
    ending: Ending
    classifier: ErrorClassifier | None = None
    clock: Callable[[], float] = anyio.current_time
    batch_deadline: float = math.inf
    hedging: Hedging | None = None
    waiting: Waiting = field(init=False)
    estimates: Estimates = field(factory=Estimates, init=False)

    def __attrs_post_init__(self) -> None:
        self.waiting = Waiting(self.ending, self.callers, self.clock)

    async def make(
        self, site: CallSite, state: RetryState, prompt: Any, attempt: int, timeout: float
    ) -> CallEnded:
        """Make one guarded call of ``site.strategy``.

        Args:
            site: The strategy, and the item that it is for.
            state: What its hooks get.
            prompt: Its prompt.
            attempt: Passed on to it.
            timeout: Seconds for the call; what the item has left bounds it, too.
        """
        item, strategy = site.item, site.strategy
        if self.ending.stopping:
            return stopped(self.ending)
        try:
            if not self.lifecycle.is_ready(strategy):
                self.waiting.on_wait()
                if not await self.lifecycle.prepare(strategy, self.ending, item.deadline):
                    return out_of_time(item, self.clock())
                self._meet(strategy)
                if self.ending.stopping:
                    return stopped(self.ending)
            shape = self.hooks.shape_of(strategy)
        except PrepareError:
            return stopped(self.ending)
        except StrategyError as error:
            return unusable(error)
        if strategy.quota_scope is None:
            ended = await self._composite(site, shape, state, prompt, attempt, timeout)
        elif self.hedging is not None:
            ended = await self._hedged(site, shape, state, prompt, attempt, timeout)
        else:
            ended = await self._leaf(site, shape, state, prompt, attempt, timeout)
        if shape.on_error is not None and isinstance(ended, Failure):
            await tell_of_failure(
                strategy,
                shape.on_error,
                item,
                ended,
                attempt,
                state,
                bound=self._hook_bound(item),
            )
        return ended

    def _hook_bound(self, item: ItemRun) -> HookBound:
        # Of an item whose time is over on_error learns, too.
        least = self.config.cleanup_timeout
        return HookBound.of(self.config, item, self.clock(), least=least)

    async def _hedged(
        self,
        site: CallSite,
        shape: StrategyShape,
        state: RetryState,
        prompt: Any,
        attempt: int,
        timeout: float,
    ) -> CallEnded:
        item, strategy = site.item, site.strategy
        gate = self.gate_of(cast("QuotaScope", strategy.quota_scope))

        async def first() -> CallEnded:
            return await self._leaf(site, shape, state, prompt, attempt, timeout)

        async def second() -> CallEnded:
            beside = CallSite(self, item, strategy)
            own = RetryState(item.values, _guard=beside)
            return await self._leaf(beside, shape, own, prompt, attempt, timeout)

        hedging = cast("Hedging", self.hedging)
        return cast("CallEnded", await hedging.call(gate, item, first, second))

    def _meet(self, strategy: LLMCallStrategy[Any]) -> None:
        """Know the scopes of all parts, so that a parked one is not taken for the last."""
        if strategy.quota_scope is not None:
            self.gate_of(strategy.quota_scope)
        for part in strategy.parts:
            self._meet(part)

    async def _leaf(
        self,
        site: CallSite,
        shape: StrategyShape,
        state: RetryState,
        prompt: Any,
        attempt: int,
        timeout: float,
    ) -> CallEnded:
        item, strategy = site.item, site.strategy
        gate = self.gate_of(cast("QuotaScope", strategy.quota_scope))
        try:
            cost = self.estimates.cost_of(strategy, prompt, gate, self.callers)
        except Exception as error:
            return self.judge(site, error)
        if item.used and item.left(self.clock()) <= 0:
            return out_of_time(item, self.clock())
        refusal = item.refusals.get(gate) if item.refusals else None
        permit = gate.admit_nowait(cost, self.callers, item=item, refusal=refusal)
        if permit is None:
            waited = await self.waiting.for_permit(gate, cost, item, refusal)
            if isinstance(waited, Failure):
                return waited
            permit = waited
        if gate not in item.called:
            item.called = (*item.called, gate)
        item.settle()  # while it waited its last failures may have turned out to be an outage's
        item.start_clock(permit.at)
        item.unanswered, site.permit = None, permit
        try:
            value = await self._bounded(site, shape, state, prompt, attempt, timeout, permit.at)
        except BaseException:
            item.stop_clock(self.clock())
            item.cut_off = True
            permit.abandon()
            raise
        now = self.clock()
        item.stop_clock(now)
        if isinstance(value, Reply):
            item.book(value.usage)
            permit.report(Outcome.OK, now, usage=value.usage)
            if item.refusals:
                item.refusals.pop(gate, None)
            if cost is not ONE_REQUEST:
                self.estimates.learn(strategy.quota_scope, prompt, value.usage)
            return value
        failure = self.judge(site, value)
        usage = failed_usage(failure.error)
        item.book(usage)
        outcome, hint = failure.info.outcome, failure.info.scope_hint
        row = permit.report(outcome, now, hint=hint, usage=usage)
        item.unanswered = None if row is None else (gate, row)
        if outcome in (Outcome.THROTTLED, Outcome.OVERLOADED):
            item.refused(gate, now, None if hint is None else hint.wait)
        elif item.refusals:
            item.refusals.pop(gate, None)
        return failure

    async def _bounded(
        self,
        site: CallSite,
        shape: StrategyShape,
        state: RetryState,
        prompt: Any,
        attempt: int,
        timeout: float,
        now: float,
    ) -> Reply | BaseException:
        """Execute within the deadline: a reply, or what went wrong.

        The steps after an error are those of ``guard.bounded``; they are written out here since
        this is the path of every call.
        """
        left = site.item.left(now)
        # The end of the batch is told but not enforced here: the run cancels all its calls then,
        # which must not be taken for a timeout of each of them.
        bound = min(timeout, left)
        seconds = min(bound, self.batch_deadline - now)
        site.deadline = now + bound
        site.stalled_after = None
        failure: BaseException | None = None
        # Not anyio.CancelScope(...): what that makes is initialised a second time on its way out
        # of __new__, which on Trio is a second scope.
        scope = site.scope = anyio.move_on_at(site.deadline)
        try:
            with scope:
                try:
                    return Reply.read(
                        await execute(site.strategy, shape, prompt, attempt, seconds, state)
                    )
                except BaseException as error:  # noqa: ASYNC103
                    if contains(error):
                        raise
                    failure = error
                await settle()
        except RuntimeError as error:
            raise left_open(error) from error
        finally:
            site.scope = None
        if scope.cancelled_caught or failure is None:
            return timed_out(
                site.item, bound, self.clock(), stalled=site.stalled_after, final=bound >= left
            )
        return failure

    async def _composite(
        self,
        site: CallSite,
        shape: StrategyShape,
        state: RetryState,
        prompt: Any,
        attempt: int,
        timeout: float,
    ) -> CallEnded:
        # It may wait for anything before it calls, such as another item's call for the same answer.
        self.waiting.on_wait()
        now = self.clock()
        seconds = min(timeout, site.item.left(now), self.batch_deadline - now)

        async def run() -> Reply:
            return Reply.read(await execute(site.strategy, shape, prompt, attempt, seconds, state))

        ended = await bounded(run, None)
        if isinstance(ended, Ok):
            return ended.value
        failure = cast("BaseException", ended.error)
        last = site.item.last_failure
        if isinstance(last, Failure) and last.error is failure:
            return last
        return self.judge(site, failure)

    def judge(self, site: CallSite, error: BaseException) -> Failure:
        """Classify what a call of ``site.strategy`` raised."""
        site.item.last_failure = failure = judge(site.strategy, error, self.classifier)
        return failure
