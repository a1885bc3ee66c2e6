"""The gates of one run: one per quota scope, made when a scope is first seen, or the user's own."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, assert_never

from attrs import define, field

from batchllm.core import ProcessingEvent, ProcessorConfig, QuotaScope
from batchllm.engine.observing import Events
from batchllm.engine.pause_log import log_event
from batchllm.gate import Gate, cooldown_policy
from batchllm.policy import (
    CapLearned,
    CooldownEnded,
    EndpointDown,
    EpisodeStarted,
    GateEvent,
    LimitAdopted,
    OutageEnded,
    OutageStarted,
    PaceLearned,
    PauseLengthened,
    RateLimiter,
    ScopeParked,
    is_own_address,
)

__all__ = ["Gates"]


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
            own_address=is_own_address(scope.base_url),
        )
        return Gate(limiter=mind, scope=scope, outage_after=config.outage_after)

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

    def all_gave_up(self) -> bool:
        """Return whether no scope that the run has met can be called: parked, or down."""
        return all(gate.gave_up for gate in self.known.values())

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
        scope = str(gate.scope or "every scope")
        log_event(scope, event)
        if isinstance(event, EpisodeStarted):
            self.episodes += 1
        for name, data in _as_processing_events(event):
            self.events.emit(name, {"scope": scope, **data})
        self.on_change(gate, event)


def _as_processing_events(event: GateEvent) -> Iterator[tuple[ProcessingEvent, dict[str, Any]]]:
    """Translate what a gate reports into what observers get."""
    match event:
        case EpisodeStarted(at=at, cause=cause, until=until, hinted=hinted):
            data = {"cause": cause, "seconds": max(0.0, until - at), "hinted": hinted}
            yield ProcessingEvent.RATE_LIMIT_HIT, data
            yield ProcessingEvent.COOLDOWN_STARTED, data
        case PauseLengthened(at=at, cause=cause, until=until, hinted=hinted):
            data = {"cause": cause, "seconds": max(0.0, until - at), "hinted": hinted}
            yield ProcessingEvent.PAUSE_LENGTHENED, data
        case CooldownEnded(cause=cause, length=length):
            yield ProcessingEvent.COOLDOWN_ENDED, {"cause": cause, "seconds": length}
        case PaceLearned(rate=rate):
            yield ProcessingEvent.QUOTA_LEARNED, {"pace": rate, "rate": rate}
        case CapLearned(calls=calls):
            yield ProcessingEvent.QUOTA_LEARNED, {"calls": calls}
        case LimitAdopted(limit=limit, source=source):
            data = {"dimension": limit.dimension, "amount": limit.amount, "per": limit.per}
            yield ProcessingEvent.LIMIT_ADOPTED, {**data, "source": source}
        case OutageStarted(at=at, until=until, failures=failures):
            data = {"failures": failures, "seconds": max(0.0, until - at)}
            yield ProcessingEvent.OUTAGE_STARTED, data
        case OutageEnded(length=length):
            yield ProcessingEvent.OUTAGE_ENDED, {"seconds": length}
        case EndpointDown(length=length, answered=answered):
            yield ProcessingEvent.ENDPOINT_DOWN, {"seconds": length, "answered": answered}
        case ScopeParked(cause=cause):
            yield ProcessingEvent.SCOPE_PARKED, {"cause": cause}
        case _:
            assert_never(event)
