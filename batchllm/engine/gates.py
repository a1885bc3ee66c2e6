"""The gates of one run: one per quota scope, made when a scope is first seen, or the user's own."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from batchllm.core import ProcessingEvent, ProcessorConfig, QuotaScope
from batchllm.engine.observing import Events
from batchllm.gate import Gate, cooldown_policy
from batchllm.policy import (
    CooldownEnded,
    EpisodeStarted,
    GateEvent,
    PaceLearned,
    RateLimiter,
    ScopeParked,
)

__all__ = ["Gates"]

logger = logging.getLogger("batchllm")


@define(eq=False)
class Gates:
    """Finds the gate of a scope, and passes on what gates tell.

    Args:
        config: For the gates that the run makes itself.
        given: Gates of the user's own; one without a scope serves every scope.
        rng: For the jitter of cooldowns.
        events: Told of episodes, cooldowns and parked scopes.
        on_change: Called when a scope begins or ends to cool down, or is parked.
        episodes: Pauses of all scopes so far.
    """

    config: ProcessorConfig
    given: Sequence[Gate]
    rng: random.Random
    events: Events = field(factory=Events)
    on_change: Callable[[Gate, GateEvent], None] = lambda gate, event: None
    known: dict[QuotaScope, Gate] = field(factory=dict, init=False)
    episodes: int = field(default=0, init=False)

    def of(self, scope: QuotaScope) -> Gate:
        """The gate of *scope*."""
        gate = self.known.get(scope)
        if gate is None:
            gate = self.known[scope] = self._find(scope) or self._make(scope)
            if sum(other is gate for other in self.known.values()) == 1:
                gate.add_listener(self._listen)
        return gate

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
        mind = RateLimiter(
            calls=config.max_workers,
            cooldown=cooldown_policy(config.rate_limit),
            park_after=math.inf if config.park_after is None else config.park_after,
            rng=self.rng,
            cold_start=not declared,
        )
        return Gate(mind=mind, scope=scope, retry_ratio=config.retry.budget_ratio)

    @property
    def own(self) -> list[Gate]:
        """Those that the run made itself."""
        return [gate for gate in self.known.values() if all(gate is not g for g in self.given)]

    def close(self) -> None:
        """Stop listening; gates that the user owns live on."""
        for gate in self._distinct():
            gate.remove_listener(self._listen)

    def _distinct(self) -> list[Gate]:
        return list({id(gate): gate for gate in self.known.values()}.values())

    def all_parked(self) -> bool:
        """Whether no scope that the run has met can be called."""
        return all(gate.mind.parked is not None for gate in self.known.values())

    def stats(self) -> dict[str, Any]:
        """What the gates know, per scope."""
        return {str(scope): gate.snapshot() for scope, gate in self.known.items()}

    def held_back(self) -> dict[str, float]:
        """Seconds during which calls waited, by cause, over all gates."""
        held: dict[str, float] = {}
        for gate in self._distinct():
            for cause, seconds in gate.held_back().items():
                held[cause] = held.get(cause, 0.0) + seconds
        return held

    def _listen(self, gate: Gate, event: GateEvent) -> None:
        data: dict[str, Any] = {"scope": str(gate.scope or "every scope")}
        if isinstance(event, EpisodeStarted):
            self.episodes += 1
            seconds = max(0.0, event.until - event.at)
            logger.warning(
                "Rate limit detected: %s; calls pause for %.1f s%s (%s)",
                event.cause,
                seconds,
                " as the server asked" if event.hinted else "",
                data["scope"],
            )
            data |= {"cause": event.cause, "seconds": seconds, "hinted": event.hinted}
            self.events.emit(ProcessingEvent.RATE_LIMIT_HIT, data)
            self.events.emit(ProcessingEvent.COOLDOWN_STARTED, data)
        elif isinstance(event, CooldownEnded):
            data |= {"cause": event.cause, "seconds": event.length}
            self.events.emit(ProcessingEvent.COOLDOWN_ENDED, data)
        elif isinstance(event, PaceLearned):
            data |= {"pace": event.rate, "rate": event.rate}
            self.events.emit(ProcessingEvent.QUOTA_LEARNED, data)
        elif isinstance(event, ScopeParked):
            self.events.emit(ProcessingEvent.SCOPE_PARKED, data | {"cause": event.cause})
        self.on_change(gate, event)
