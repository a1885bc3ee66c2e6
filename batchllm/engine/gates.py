"""The gates of one run: one per quota scope, made when a scope is first seen, or the user's own."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Protocol

from attrs import define, field

from batchllm.core import LLMCallStrategy, ProcessorConfig, QuotaScope
from batchllm.gate import Gate, cooldown_policy
from batchllm.policy import (
    EpisodeStarted,
    GateEvent,
    GateSnapshot,
    Learned,
    RateLimiter,
    is_own_address,
)

__all__ = ["GateListener", "Gates"]


class GateListener(Protocol):
    """The parts of a run that learn from its gates."""

    def on_gate_event(self, gate: Gate, event: GateEvent) -> None:
        """Take in *event* of *gate*; must not raise."""


@define(eq=False)
class Gates:
    """Finds the gate of a scope, and passes its events on to the run that goes on.

    Args:
        config: For the gates that the run makes itself.
        given: Gates of the user's own; one without a scope serves every scope.
        rng: For the jitter of cooldowns.

    Attributes:
        episodes: Pauses of all scopes so far.
    """

    config: ProcessorConfig
    given: Sequence[Gate]
    rng: random.Random
    episodes: int = field(default=0, init=False)
    _known: dict[QuotaScope, Gate] = field(factory=dict, init=False)
    _memory: dict[str, Learned] = field(factory=dict, init=False)
    _listener: GateListener | None = field(default=None, init=False)
    _last: tuple[QuotaScope, Gate] | None = field(default=None, init=False)

    def of(self, scope: QuotaScope) -> Gate:
        """Return the gate of *scope*."""
        last = self._last
        if last is not None and last[0] is scope:  # nearly always; to hash four texts takes longer
            return last[1]
        gate = self._known.get(scope)
        if gate is None:
            gate = self._known[scope] = self._find(scope) or self._make(scope)
            if sum(other is gate for other in self._known.values()) == 1:
                gate.add_listener(self._pass_on)
        self._last = scope, gate
        return gate

    def register(self, strategy: LLMCallStrategy[Any]) -> None:
        """Know the scopes of *strategy* and all its parts, so that a parked one is not the last."""
        if strategy.quota_scope is not None:
            self.of(strategy.quota_scope)
        for part in strategy.parts:
            self.register(part)

    def is_closed(self, strategy: LLMCallStrategy[Any]) -> bool:
        """Return whether *strategy* has to wait for its scope, or all its parts have to."""
        if strategy.quota_scope is not None:
            return self.of(strategy.quota_scope).closed
        return bool(strategy.parts) and all(map(self.is_closed, strategy.parts))

    def is_unanswered(self, strategy: LLMCallStrategy[Any]) -> bool:
        """Return whether a call of *strategy* would wait for an endpoint that does not answer."""
        if strategy.quota_scope is not None:
            return self.of(strategy.quota_scope).unanswered
        return bool(strategy.parts) and all(map(self.is_unanswered, strategy.parts))

    def _find(self, scope: QuotaScope) -> Gate | None:
        for gate in self.given:
            if gate.scope == scope:
                return gate
        for gate in self.given:
            if gate.scope is None:
                return gate
        return None

    def _make(self, scope: QuotaScope) -> Gate:
        config = self.config
        declared = config.max_requests_per_minute is not None
        limiter = RateLimiter(
            calls=config.max_workers,
            cooldown=cooldown_policy(config.rate_limit),
            park_after=math.inf if config.park_after is None else config.park_after,
            rng=self.rng,
            cold_start=not declared,
            own_address=is_own_address(scope.base_url),
            learned=self._memory.get(str(scope)),
        )
        return Gate(limiter=limiter, scope=scope, outage_after=config.outage_after)

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Keep up the gates that are shared with other processes for the length of the block."""
        async with AsyncExitStack() as shared:
            for gate in self.given:
                if gate.shares:
                    await shared.enter_async_context(gate.serving())
            yield

    @contextmanager
    def heard_by(self, listener: GateListener) -> Generator[None]:
        """Pass every event on to *listener* for the length of the block: one run."""
        self._listener = listener
        try:
            yield
        finally:
            self._listener = None

    def _pass_on(self, gate: Gate, event: GateEvent) -> None:
        if isinstance(event, EpisodeStarted):
            self.episodes += 1
        if self._listener is not None:
            self._listener.on_gate_event(gate, event)

    def reconfigure(self, config: ProcessorConfig) -> None:
        """Make gates for *config* from now on, and cap those that were made."""
        self.config = config
        for gate in self.distinct():
            if all(gate is not given for given in self.given):
                gate.set_calls(config.max_workers)

    def close(self) -> None:
        """Stop listening; gates that the user owns live on."""
        for gate in self.distinct():
            gate.remove_listener(self._pass_on)

    def distinct(self) -> list[Gate]:
        """Return each gate once, however many scopes it serves."""
        return list({id(gate): gate for gate in self._known.values()}.values())

    def remember(self, quotas: Mapping[str, tuple[float, float]]) -> None:
        """Let gates that are made from now on start from what earlier runs learned.

        Args:
            quotas: Calls per second and age in seconds, by scope.
        """
        for scope, (rate, age) in quotas.items():
            self._memory[scope] = Learned(rate=rate, age=age)

    def learned(self) -> dict[str, Learned]:
        """Return what was learned so far, by scope."""
        found = {str(scope): gate.learned() for scope, gate in self._known.items()}
        return {scope: learned for scope, learned in found.items() if learned is not None}

    def all_gave_up(self) -> bool:
        """Return whether no scope that the run has met can be called: parked, or down."""
        return all(gate.gave_up for gate in self._known.values())

    def snapshots(self) -> dict[str, GateSnapshot]:
        """Return what the gates know, per scope."""
        return {str(scope): gate.snapshot() for scope, gate in self._known.items()}

    def held_so_far(self) -> dict[Gate, dict[str, float]]:
        """Return what has held each gate back, of those that the run may come to use."""
        return {gate: gate.held_back() for gate in (*self.given, *self.distinct())}

    def held_back(self, before: Mapping[Gate, Mapping[str, float]]) -> dict[str, float]:
        """Return seconds during which calls waited, by cause, over all gates.

        Args:
            before: What ``held_so_far`` returned when the run began. A gate may be older than the
                run: a processor keeps its gates from batch to batch, and users share theirs.
        """
        held: dict[str, float] = {}
        for gate in self.distinct():
            earlier = before.get(gate, {})
            for cause, seconds in gate.held_back().items():
                held[cause] = held.get(cause, 0.0) + seconds - earlier.get(cause, 0.0)
        return held
