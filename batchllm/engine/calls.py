"""The one guarded call: admit, bound, execute, report, book, ``on_error``.

Every call of every strategy goes this way, also those that a composite makes through
``state.call``. A leaf (it has a quota scope) holds one permit, and its deadline, round its
``execute`` alone; a composite holds neither, so nothing that it waits for can wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import anyio
from attrs import define, field, frozen

from batchllm.classifiers import DefaultErrorClassifier, classify, failed_usage
from batchllm.core import (
    CallCost,
    CallError,
    CallTooLargeError,
    Category,
    ErrorClassifier,
    ErrorInfo,
    FrameworkTimeoutError,
    ItemStopped,
    LLMCallStrategy,
    Outcome,
    PrepareError,
    ProcessorConfig,
    ProgramError,
    QuotaScope,
    Reply,
    RetryState,
    ScopeParkedError,
    ServerHint,
    StallError,
    StrategyError,
)
from batchllm.engine.ending import Ending
from batchllm.engine.estimates import ONE_REQUEST, Estimates
from batchllm.engine.guard import Failed, TimedOut, contains, in_words, left_open, settle
from batchllm.engine.hedging import Hedging
from batchllm.engine.hooks import HookTable, StateArgument, StrategyShape, call_hook
from batchllm.engine.item import ItemRun
from batchllm.engine.lifecycle import Lifecycle
from batchllm.gate import CallerLimits, Gate, Permit

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["CallSite", "Calls", "Failure"]

_DEFAULT = DefaultErrorClassifier()


@frozen
class Failure:
    """A call failed with *error*, which means *info*; *made* says whether it was made at all."""

    error: BaseException
    info: ErrorInfo
    made: bool = True


CallEnded: TypeAlias = "Reply | Failure"

_STOPPED = ErrorInfo(False, False, False, Category.STOPPED)
_PARKED = ErrorInfo(False, False, False, Category.PARKED)
_TOO_LARGE = ErrorInfo(False, False, False, Category.TOO_LARGE)
_PROGRAM = ErrorInfo(False, False, False, Category.PROGRAM_ERROR)
_ATTEMPT_TIMEOUT = ErrorInfo(True, False, True, Category.TIMEOUT)
_ITEM_TIMEOUT = ErrorInfo(False, False, True, Category.TIMEOUT)


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
        on_wait: Called when an item begins to wait at a gate that is closed, since it leaves
            the window.
        waits: Seconds that items have waited so far, by cause.
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
    on_wait: Callable[[], None] = lambda: None
    hedging: Hedging | None = None
    more_to_come: bool = True
    estimates: Estimates = field(factory=Estimates, init=False)
    waits: dict[str, float] = field(
        factory=lambda: dict.fromkeys(("admission_wait", "cooldown_wait", "backoff"), 0.0),
        init=False,
    )
    waiting_at: dict[Gate, int] = field(factory=dict, init=False)
    _waits: set[anyio.CancelScope] = field(factory=set, init=False)

    def stop_waiting(self) -> None:
        """End every wait for a permit or a backoff, since no call may start any more."""
        for scope in list(self._waits):
            scope.cancel("the batch is ending")

    @contextmanager
    def wait(self, until: float = math.inf) -> Generator[anyio.CancelScope]:
        """A scope for waiting that ends at *until*, or when the run stops."""
        with anyio.CancelScope(deadline=until) as scope:
            self._waits.add(scope)
            if self.ending.stopping:
                scope.cancel("the batch is ending")
            try:
                yield scope
            finally:
                self._waits.discard(scope)

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
        strategy = site.strategy
        if self.ending.stopping:
            return self._stopped()
        try:
            if not self.lifecycle.is_ready(strategy):
                await self.lifecycle.prepare(strategy, self.ending)
                self._meet(strategy)
                if self.ending.stopping:
                    return self._stopped()
            shape = self.hooks.shape_of(strategy)
        except PrepareError:
            return self._stopped()
        except StrategyError as error:
            return Failure(error, _PROGRAM, made=False)
        if strategy.quota_scope is None:
            ended = await self._composite(site, shape, state, prompt, attempt, timeout)
        elif self.hedging is not None:
            ended = await self._hedged(site, shape, state, prompt, attempt, timeout)
        else:
            ended = await self._leaf(site, shape, state, prompt, attempt, timeout)
        if shape.on_error is not None and isinstance(ended, Failure):
            await self._tell_strategy(site, shape.on_error, ended, attempt, state)
        return ended

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

    @property
    def idle(self) -> bool:
        """Whether no fresh call waits for its turn, now or in the source."""
        return not self.more_to_come and not any(self.waiting_at.values())

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
            return Failure(_item_timeout(item, self.clock()), _ITEM_TIMEOUT, made=False)
        permit = gate.admit_nowait(cost, self.callers)
        if permit is None:
            waited = await self._wait_for_permit(gate, cost, item)
            if isinstance(waited, Failure):
                return waited
            permit = waited
        if attempt == 1:
            gate.count_first(permit.at)
        item.start_clock(permit.at)
        item.gate, site.permit = gate, permit
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
            if cost is not ONE_REQUEST:
                self.estimates.learn(strategy.quota_scope, prompt, value.usage)
            return value
        failure = self.judge(site, value)
        usage = failed_usage(failure.error)
        item.book(usage)
        permit.report(failure.info.outcome, now, hint=failure.info.scope_hint, usage=usage)
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
        scope = site.scope = anyio.CancelScope(deadline=site.deadline)
        try:
            with scope:
                try:
                    return Reply.read(
                        await _execute(site.strategy, shape, prompt, attempt, seconds, state)
                    )
                except BaseException as error:
                    if contains(error):
                        raise
                    failure = error
                await settle()
        except RuntimeError as error:
            raise left_open(error) from error
        finally:
            site.scope = None
        if scope.cancelled_caught or failure is None:
            return self._timed_out(site, bound, final=bound >= left)
        return failure

    def _timed_out(self, site: CallSite, seconds: float, *, final: bool) -> CallError:
        if site.stalled_after is not None:
            msg = (
                f"the streamed answer paused for more than stall_timeout ({site.stalled_after:g} s)"
            )
            return StallError(msg)
        if final:
            return _item_timeout(site.item, self.clock())
        msg = f"Framework timeout after {seconds:.1f}s: the attempt took too long"
        return FrameworkTimeoutError(msg, seconds=seconds)

    async def _composite(
        self,
        site: CallSite,
        shape: StrategyShape,
        state: RetryState,
        prompt: Any,
        attempt: int,
        timeout: float,
    ) -> CallEnded:
        now = self.clock()
        seconds = min(timeout, site.item.left(now), self.batch_deadline - now)
        failure: BaseException | None = None
        try:
            with anyio.CancelScope():  # to notice one inside that is left open
                try:
                    return Reply.read(
                        await _execute(site.strategy, shape, prompt, attempt, seconds, state)
                    )
                except BaseException as error:
                    if contains(error):
                        raise
                    failure = error
                await settle()
        except RuntimeError as error:
            raise left_open(error) from error
        last = site.item.last_failure
        if isinstance(last, Failure) and last.error is failure:
            return last
        return self.judge(site, cast("BaseException", failure))

    async def _wait_for_permit(self, gate: Gate, cost: CallCost, item: ItemRun) -> Permit | Failure:
        self.waiting_at[gate] = self.waiting_at.get(gate, 0) + 1
        if gate.closed:
            self.on_wait()
        permit: Permit | None = None
        try:
            with self.wait(item.deadline):
                permit = await gate.admit(cost, self.callers, priority=item.work.priority)
        except ScopeParkedError as error:
            return Failure(error, _PARKED, made=False)
        except CallTooLargeError as error:
            return Failure(error, _TOO_LARGE, made=False)
        finally:
            self.waiting_at[gate] -= 1
        if self.ending.stopping:
            if permit is not None:  # granted in the very turn in which the run was stopped
                permit.undo()
            return self._stopped()
        if permit is not None:
            item.waited(permit.admission_wait, permit.cooldown_wait)
            self.waits["admission_wait"] += permit.admission_wait
            self.waits["cooldown_wait"] += permit.cooldown_wait
            return permit
        return Failure(_item_timeout(item, self.clock()), _ITEM_TIMEOUT, made=False)

    def judge(self, site: CallSite, error: BaseException) -> Failure:
        """Classify what a call of ``site.strategy`` raised."""
        if isinstance(error, FrameworkTimeoutError):
            info = _ITEM_TIMEOUT if error.final else _ATTEMPT_TIMEOUT
        elif isinstance(error, ItemStopped):
            info = _STOPPED
        elif isinstance(error, ProgramError):
            info = _PROGRAM
        elif isinstance(error, Exception):
            own = getattr(site.strategy, "error_classifier", None) or _DEFAULT
            info = classify(error, self.classifier, own)
        else:
            info = ErrorInfo(False, False, False, Category.UNKNOWN)
        site.item.last_failure = failure = Failure(error, info)
        return failure

    def _stopped(self) -> Failure:
        reason = self.ending.describe().reason
        return Failure(ItemStopped(f"not run: {reason}"), _STOPPED, made=False)

    async def _tell_strategy(
        self,
        site: CallSite,
        takes: StateArgument,
        failure: Failure,
        attempt: int,
        state: RetryState,
    ) -> None:
        """Call ``on_error``; what it raises is noted, and the original error decides."""
        if failure.info in (_STOPPED, _PARKED):
            return
        hook: Callable[..., Any] = site.strategy.on_error
        if takes is StateArgument.KEYWORD:
            hook = _with_state(hook, state)
        args = (state,) if takes is StateArgument.POSITION else ()
        ended = await call_hook(
            hook, failure.error, attempt, *args, seconds=self.config.hook_timeout
        )
        name = f"{type(site.strategy).__name__}.on_error"
        if isinstance(ended, Failed):
            site.item.note(f"{name} raised {in_words(ended.error)}")
        elif isinstance(ended, TimedOut):
            site.item.note(f"{name} took longer than hook_timeout and was cancelled")


def _item_timeout(item: ItemRun, now: float) -> FrameworkTimeoutError:
    name, seconds = item.bound(now)
    msg = (
        f"Framework timeout after {seconds:.1f}s: the item used up {name}; raise it, "
        "or let it make fewer attempts"
    )
    return FrameworkTimeoutError(msg, seconds=seconds, final=True)


def _with_state(hook: Callable[..., Any], state: RetryState) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        return hook(*args, state=state)

    return call


def _execute(
    strategy: LLMCallStrategy[Any],
    shape: StrategyShape,
    prompt: Any,
    attempt: int,
    seconds: float,
    state: RetryState,
) -> Awaitable[object]:
    if shape.execute is StateArgument.POSITION:
        return strategy.execute(prompt, attempt, seconds, state)
    if shape.execute is StateArgument.KEYWORD:
        return strategy.execute(prompt, attempt, seconds, state=state)
    return strategy.execute(prompt, attempt, seconds)
