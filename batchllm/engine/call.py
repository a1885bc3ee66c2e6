"""The one guarded call: admit, bound, execute, report, book, ``on_error``.

Every call of every strategy goes this way, also those that a composite makes through
``state.call``. A leaf (it has a quota scope) holds one permit, and its deadline, round its
``execute`` alone; a composite holds neither, so nothing that it waits for can wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import Any, Final, cast

import anyio
from attrs import define, field

from batchllm.classifiers import failed_usage, is_unconnected
from batchllm.core import (
    CallCost,
    LLMCallStrategy,
    Outcome,
    PrepareError,
    ProgramError,
    Reply,
    RetryState,
    ServerHint,
    StrategyError,
    TokenUsage,
)
from batchllm.engine.call_context import ONE_REQUEST
from batchllm.engine.call_timers import CallTimer
from batchllm.engine.failures import Failure, out_of_time, stopped, timed_out, unusable
from batchllm.engine.guard import Ok, bounded, contains, left_open, surface_cancellation
from batchllm.engine.hedging import CallEnded
from batchllm.engine.hooks import StateArgument, StrategyShape, awaitable, bind_on_error
from batchllm.engine.in_budget import with_copies, within_budget
from batchllm.engine.lifecycle import connect_seconds_of
from batchllm.engine.retry_hooks import call_on_error
from batchllm.engine.state_guard import StateGuard
from batchllm.gate import Gate, Permit, Refusal

__all__ = ["Call"]

# Looked up once: Python 3.11 takes 0.4 µs for a member of an enum, and every call asks for these.
_OK: Final = Outcome.OK
_POSITION: Final = StateArgument.POSITION
_KEYWORD: Final = StateArgument.KEYWORD


@define(eq=False)
class Call(StateGuard):
    """The guarded call of one strategy for one item, and the engine's side of its ``RetryState``.

    It is made once or, after a failure that may pass, again: the strategy gets the same state.

    Args:
        context: What it shares with the run's other calls.
        item: Whose call it is.
        strategy: What is called.
        timeout: Seconds for each time; what the item has left bounds it, too.

    Attributes:
        prompt: What the strategy gets.
        cut_off: Whether it, or a call made within it, was cancelled in flight and so may have
            been billed.
    """

    timeout: float
    cut_off: bool = field(default=False, init=False)
    prompt: Any = field(default=None, init=False)
    _attempt: int = field(default=1, init=False)
    _shape: StrategyShape = field(init=False)
    _state: RetryState | None = field(default=None, init=False)
    _permit: Permit | None = field(default=None, init=False)
    _timer: CallTimer | None = field(default=None, init=False)
    _stalled_after: float | None = field(default=None, init=False)

    async def make(self, prompt: Any, attempt: int) -> CallEnded:
        """Make the call: a reply, or what became of it instead.

        Args:
            prompt: Passed on to the strategy.
            attempt: Passed on to it, from 1.
        """
        self.prompt, self._attempt = prompt, attempt
        self.cut_off, self._permit, self._stalled_after = False, None, None
        context, strategy = self.context, self.strategy
        if context.ending.stopping:
            return stopped(context.ending)
        try:
            shape = self._shape = context.hooks.shape_of(strategy)
            if not context.lifecycle.is_ready(strategy, shape):
                refused = await self._prepare()
                if refused is not None:
                    return refused
        except PrepareError:
            return stopped(context.ending)
        except StrategyError as error:
            return unusable(error)
        if strategy.quota_scope is None:
            ended = await self._as_composite()
        else:
            if context.prices.unloaded and context.prices.waits_for_library(strategy):
                await context.load_prices()
            gate, spending = context.gates.of(strategy.quota_scope), context.spending
            if context.hedging is not None:
                ended = await with_copies(self, gate, context.hedging, spending)
            elif spending is not None:
                ended = await within_budget(self, gate, spending)
            else:
                ended = await self.as_leaf(gate)
        if shape.on_error is not None and isinstance(ended, Failure) and ended.of_the_strategy:
            hook = bind_on_error(strategy, shape.on_error, attempt, self.state)
            await call_on_error(strategy, hook, self.item, ended, context)
        return ended

    async def _prepare(self) -> Failure | None:
        """Wait until the strategy is ready; return why the call is not made, if it is not."""
        context, item = self.context, self.item
        context.waits.wake_feed()
        if not await context.lifecycle.prepare(self.strategy, context.ending, item.deadline):
            return out_of_time(item, context.clock())
        context.gates.register(self.strategy)
        return stopped(context.ending) if context.ending.stopping else None

    def copy(self) -> Call:
        """Return another call of the same, with nothing of its course so far."""
        copy = Call(self.context, self.item, self.strategy, self.timeout)
        copy.prompt, copy._attempt, copy._shape = self.prompt, self._attempt, self._shape
        return copy

    # -- a leaf: with a permit and a deadline ---------------------------------------------------

    async def as_leaf(self, gate: Gate) -> CallEnded:
        """Make the call with a permit of *gate*."""
        context, item, strategy = self.context, self.item, self.strategy
        takes = ONE_REQUEST
        if gate.counts_tokens(context.callers):
            estimated = self._takes(gate)
            if isinstance(estimated, Failure):
                return estimated
            takes = estimated
        now = context.clock()
        if item.is_over(now):
            return out_of_time(item, now)
        refusal = item.refusals.get(gate) if item.refusals else None
        permit = gate.admit_nowait(takes, context.callers, item=item, refusal=refusal, now=now)
        is_cold = False
        if permit is None:
            waited = await self._wait(gate, takes, refusal)
            if isinstance(waited, Failure):
                return waited
            permit, takes = waited
            is_cold = gate.starts_cold
        item.begin_call(gate, permit.at)
        self._permit, recorder = permit, context.recorder
        watchers, watched, number = context.watchers, (), 0
        try:
            if is_cold:
                gate.on_connected(connect_seconds_of(strategy))
            number = recorder.begin_call(item, self._attempt)
            if watchers.active:
                watched = watchers.start_call(item, strategy, self.prompt, self._attempt)
            value = await self._execute_within(permit.at)
        except BaseException:
            item.stop_clock(context.clock())
            self.cut_off = True
            permit.abandon()
            recorder.cut_off(item, number)
            if watched:
                watchers.end_call(watched, permit.at, None)
            raise
        now = context.clock()
        item.stop_clock(now)
        if isinstance(value, Reply):
            cost = context.prices.cost(strategy, value.usage, value.metadata)
            item.book(value.usage, cost, answered=True)
            permit.report(_OK, now, usage=value.usage)
            if item.refusals:
                item.refusals.pop(gate, None)
            if takes is not ONE_REQUEST:
                context.estimates.learn(strategy.quota_scope, self.prompt, value.usage)
            if watched:
                watchers.end_call(watched, permit.at, value)
            return value
        failure = self.judge(value)
        usage = failed_usage(failure.error)
        recorder.fail_call(item, number, failure, usage)
        if watched:
            watchers.end_call(watched, permit.at, failure)
        return self._report_failure(gate, permit, failure, usage, now)

    def _takes(self, gate: Gate) -> CallCost | Failure:
        """Return what to reserve for the call; the strategy's own estimate may fail."""
        context = self.context
        try:
            return context.estimates.cost_of(self.strategy, self.prompt, gate, context.callers)
        except Exception as error:
            return self.judge(error)

    async def _wait(
        self, gate: Gate, takes: CallCost, refusal: Refusal | None
    ) -> tuple[Permit, CallCost] | Failure:
        """Wait for a permit; return it with what it reserved."""
        context = self.context
        while True:
            permit = await context.waits.for_permit(gate, takes, self.item, refusal)
            if isinstance(permit, Failure):
                return permit
            if takes is not ONE_REQUEST or not gate.counts_tokens(context.callers):
                return permit, takes
            # A limit on tokens was reported while it waited, and it has none reserved.
            permit.undo()
            again = self._takes(gate)
            if isinstance(again, Failure):
                return again
            takes = again

    def _report_failure(
        self, gate: Gate, permit: Permit, failure: Failure, usage: TokenUsage | None, now: float
    ) -> Failure:
        item = self.item
        item.book(usage, self.context.prices.cost(self.strategy, usage))
        outcome, hint = failure.info.outcome, failure.info.scope_hint
        row = permit.report(
            outcome, now, hint=hint, usage=usage, reason=failure.in_short,
            unconnected=is_unconnected(failure.error),
        )  # fmt: skip
        item.unanswered = None if row is None else (gate, row)
        if outcome in (Outcome.THROTTLED, Outcome.OVERLOADED):
            item.refused(gate, now, None if hint is None else hint.wait)
        elif item.refusals:
            item.refusals.pop(gate, None)
        return failure

    async def _execute_within(self, now: float) -> Reply | BaseException:
        """Execute within the deadline: a reply, or what went wrong.

        The steps after an error are those of ``guard.bounded``, written out for every call's sake.
        """
        context, item = self.context, self.item
        left = item.left(now)
        # The end of the batch is passed on but not enforced here: the run cancels all its calls
        # then, which must not be taken for a timeout of each of them.
        bound = min(self.timeout, left)
        seconds = min(bound, context.batch_deadline - now)
        failure: BaseException | None = None
        # Not anyio.CancelScope(...): what that makes is initialised a second time on its way out
        # of __new__, which on Trio is a second scope.
        scope, timers = anyio.move_on_at(math.inf), context.timers
        timer = self._timer = CallTimer(item, scope, now + bound, item.deadline)
        if timer.due < math.inf:
            timers.start(timer)
        try:
            with scope:
                try:
                    return Reply.read(await self._execute(seconds))
                except BaseException as error:  # noqa: ASYNC103
                    if contains(error):
                        raise
                    failure = error
                await surface_cancellation()
        except RuntimeError as error:
            raise left_open(error) from error
        finally:
            self._timer = None
            timers.stop(timer)
        if scope.cancelled_caught or failure is None:
            stalled, final = self._stalled_after, bound >= left
            return timed_out(item, bound, context.clock(), stalled=stalled, final=final)
        return failure

    # -- a composite: it calls others, and holds nothing meanwhile -------------------------------

    async def _as_composite(self) -> CallEnded:
        context, item = self.context, self.item
        # It may wait for anything before it calls, such as another item's call for the same answer.
        context.waits.wake_feed()
        now = context.clock()
        seconds = min(self.timeout, item.left(now), context.batch_deadline - now)

        async def run() -> Reply:
            return Reply.read(await self._execute(seconds))

        ended = await bounded(run, None)
        if isinstance(ended, Ok):
            return ended.value
        failure = cast("BaseException", ended.error)
        last = item.last_failure
        if isinstance(last, Failure) and last.error is failure:
            return last
        return self.judge(failure)

    # -- the strategy's hooks, as their signatures take the state --------------------------------

    @property
    def state(self) -> RetryState:
        """The item's memory, as this call's strategy gets it."""
        if self._state is None:
            item = self.item
            if item.values is None:
                item.values = {}
            self._state = RetryState(item.values, _guard=self)
        return self._state

    def _execute(self, seconds: float) -> Awaitable[object]:
        shape, strategy = self._shape, self.strategy
        if shape.execute is _POSITION:
            value = strategy.execute(self.prompt, self._attempt, seconds, self.state)
        elif shape.execute is _KEYWORD:
            value = strategy.execute(self.prompt, self._attempt, seconds, state=self.state)
        else:
            value = strategy.execute(self.prompt, self._attempt, seconds)
        return awaitable(strategy, value) if shape.plain else value

    # -- what a strategy asks of its call through its RetryState; the rest is in StateGuard --------

    def progress(self) -> None:
        """Note that a streamed request began, or that a piece of its answer arrived."""
        limit, timer = self.context.config.stall_timeout, self._timer
        if timer is None or limit is None:
            return
        self._stalled_after = limit if self.context.timers.stall_after(timer, limit) else None

    def observe(self, hint: ServerHint) -> None:
        """Keep what a reply reported about limits."""
        if self._permit is not None:
            self._permit.observe(hint)

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
        call = Call(self.context, self.item, inner, timeout)
        try:
            ended = await call.make(prompt, attempt)
        except BaseException:
            self.cut_off = self.cut_off or call.cut_off
            raise
        if isinstance(ended, Reply):
            return ended
        self.item.last_failure = ended
        raise ended.error
