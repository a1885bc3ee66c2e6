"""A gate whose limits are kept together with other processes, on this machine or on others."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import anyio

from batchllm.core import (
    CallCost,
    ConfigError,
    QuotaScope,
    RateLimitConfig,
    explain_arguments,
    raise_without_group,
)
from batchllm.gate import Gate, check_gate, limiter_of_gate
from batchllm.policy import (
    GateEvent,
    LeaseCounts,
    LeasedBucket,
    Limit,
    LimitAdopted,
    Quota,
    Settlement,
)
from batchllm.shared.feeding import Feeder, Need
from batchllm.shared.http_store import HttpLeases
from batchllm.shared.sqlite_store import SqliteLeases
from batchllm.shared.stores import LeaseStore

__all__ = ["SharedGate"]

_MOST_WANTED: Final = 256
"""Calls that slots are asked for at once; a lease has no more."""
_CLEANUP: Final = 5.0
"""Seconds for closing the store."""
_HOLD, _HOLD_HERE = 0.5, 0.25
"""Seconds for which a slot is good, over a network and on one machine: many times a round trip."""
_SHORTEST_HOLD: Final = 0.05
_HOLD_SHARE: Final = 0.05
"""Of the shortest window at most, since what slots are held for cannot be used."""


@explain_arguments()
class SharedGate(Gate):
    """Paces calls by one quota that any number of processes keep together.

    Each process makes one of its own, and declares the same limits or none. A run that is given one
    serves it for as long as it goes on; ``async with`` keeps it up between runs.

    Example::

        gate = SharedGate("sqlite:///var/tmp/openai.gate", requests_per_minute=3_000)
        result = run_batch_sync(prompts, "openai:gpt-5-mini", gate=gate)

    While the authority cannot be reached no call starts: a shared gate never fails open.

    Args:
        store: ``"sqlite:///var/tmp/openai.gate"`` (or ``"sqlite:openai.gate"``, in the current
            folder) for the processes of one machine, ``"http://10.0.0.5:8765"`` for those of
            several, where ``batchllm serve-gate`` runs, or a ``LeaseStore`` of your own.
        requests_per_minute: The quota of all together; ``None`` keeps what others declare, and what
            the server reports.
        tokens_per_minute: A quota on input and output tokens together.
        limits: Quotas of any kind.
        calls: The cap on calls in flight of this process alone.
        rate_limit: As for ``Gate``, as are *park_after*, *outage_after* and *seed*.
        settlement: As for ``Gate``; all declare the same.
        scope: The quota scope that it stands for; ``None`` for every one that is met. Scopes have
            quotas of their own in one store.
        hold: Seconds for which a slot is good: longer than the way to the authority and back. The
            share ``window / (window + 0.5 + hold)`` of a quota can be used.
        secret: Shared with ``batchllm serve-gate``; by default ``BATCHLLM_GATE_SECRET`` of the
            environment.
        clock: Seconds on the event loop's clock.

    Raises:
        ConfigError: An argument has a value that cannot work; it is named, with what to give.
    """

    def __init__(
        self,
        store: str | LeaseStore,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        limits: Iterable[Limit] = (),
        calls: int | None = None,
        rate_limit: RateLimitConfig | None = None,
        park_after: float | None = 900.0,
        outage_after: float | None = 600.0,
        settlement: Settlement = "refund",
        scope: QuotaScope | None = None,
        seed: int | None = None,
        hold: float | None = None,
        secret: str | None = None,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        declared = check_gate(
            "SharedGate",
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            limits=limits,
            calls=calls,
            rate_limit=rate_limit,
            park_after=park_after,
            outage_after=outage_after,
            settlement=settlement,
            scope=scope,
            seed=seed,
        )
        self._store, self._owned, usual = _store_of(store, secret)
        quota = Quota(limits=declared, settlement=settlement, hold=_hold_of(hold, usual, declared))
        need = Need()
        name = "" if scope is None else str(scope)
        self._bucket = LeasedBucket(uuid4().hex, name, quota, need)
        self._feeder = Feeder(self._store, self._bucket, need)
        # What is declared holds for all together: the bucket keeps it, and the limiter none beside.
        limiter = limiter_of_gate(
            calls=calls,
            rate_limit=rate_limit,
            park_after=park_after,
            settlement=settlement,
            scope=scope,
            seed=seed,
            leased=self._bucket,
        )
        super().__init__(
            limiter=limiter, park_after=park_after, outage_after=outage_after, scope=scope,
            clock=clock,
        )  # fmt: skip
        self._open: list[AsyncExitStack] = []
        self._served = 0
        self.add_listener(_pass_on_found)

    async def __aenter__(self) -> Self:
        stack = AsyncExitStack()
        await stack.enter_async_context(self.serving())
        self._open.append(stack)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._open.pop().__aexit__(kind, error, trace)

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Ask for leases for the length of the block; several may overlap.

        Raises:
            ConfigError: Others have declared other limits, or the store cannot be used.
            GateUnreachableError: The authority did not answer for 30 s.
        """
        self._served += 1
        try:
            if self._served == 1:
                await self._feeder.join(self)
            async with anyio.create_task_group() as group:
                group.start_soon(self._feeder.run, self, name="batchllm leases")
                yield
                group.cancel_scope.cancel("the shared gate is not used any more")
        except BaseExceptionGroup as errors:
            raise_without_group(errors)
        finally:
            self._served -= 1
            if not self._served and self._owned is not None:
                with anyio.move_on_after(_CLEANUP, shield=True):
                    await self._owned.aclose()

    def leases(self) -> LeaseCounts:
        """Return what its leases came to so far."""
        return self._bucket.counts()

    @property
    def unreachable(self) -> str | None:
        """Return why the authority does not answer; ``None`` while it does."""
        return self._feeder.problem

    # -- what the feeder asks ----------------------------------------------------------------

    def demand(self) -> list[CallCost]:
        """Return what the calls take that could start if there were slots."""
        now = self.clock()
        most = self.limiter.may_start(now)
        if not most or not self._queue:
            return []
        if not self._planner.breaker.free:  # one call tries whether the endpoint answers again
            most = 1
        return self._queue.wanted(int(min(_MOST_WANTED, most)))

    def closed_for(self) -> float:
        """Return the seconds for which a fixed policy of this process pauses."""
        return self.limiter.closed_for(self.clock())

    def on_lease(self) -> None:
        """Hand out what a lease has given."""
        self.limiter.on_lease(self.clock())
        self._planner.advance()

    def on_found(self, limit: Limit) -> None:
        """Report a limit that the server named to the authority."""
        self._bucket.on_found(limit)


def _pass_on_found(gate: Gate, event: GateEvent) -> None:
    if isinstance(event, LimitAdopted) and isinstance(gate, SharedGate):
        gate.on_found(event.limit)


def _store_of(store: Any, secret: str | None) -> tuple[LeaseStore, Any, float]:
    """Return the store, the same if it is ours to close, and how long its slots are held."""
    if isinstance(store, str):
        kind, _, rest = store.partition(":")
        if kind == "sqlite" and rest.removeprefix("//"):
            file = SqliteLeases(rest.removeprefix("//"))
            return file, file, _HOLD_HERE
        if kind in ("http", "https"):
            server = HttpLeases(store, secret=secret)
            return server, server, _HOLD
    elif isinstance(store, LeaseStore) and not isinstance(store, type):
        return store, None, _HOLD
    msg = (
        f"SharedGate(store=…) is {store!r}; give 'sqlite:///path/of/a/file', "
        "'http://host:port' of a batchllm serve-gate, or a LeaseStore"
    )
    raise ConfigError(msg)


def _hold_of(hold: Any, usual: float, limits: tuple[Limit, ...]) -> float:
    if hold is None:
        shortest = min((limit.enforced[1] for limit in limits), default=math.inf)
        return max(_SHORTEST_HOLD, min(usual, _HOLD_SHARE * shortest))
    if isinstance(hold, bool) or not isinstance(hold, int | float) or not 0.01 <= hold <= 10:
        msg = f"SharedGate(hold=…) is {hold!r}; give seconds from 0.01 to 10, or None"
        raise ConfigError(msg)
    return float(hold)
