"""The limits of one scope put together: all are asked before any is charged."""

import math
import random
from collections.abc import Iterator

from attrs import define, field, frozen

from batchllm.simulator.admission import (
    AdmissionModel,
    ConcurrencyCap,
    FixedWindow,
    SlidingLog,
    Ticket,
    TokenBucket,
)
from batchllm.simulator.scenarios import Scenario
from batchllm.simulator.wires import Answer, Call, LimitState

_DAY = 86_400.0
_MINUTE = 60.0


@define(eq=False)
class Dimension:
    """One limit of a scope: `declared` per `window` as the provider reports it."""

    name: str
    declared: float
    window: float
    model: AdmissionModel


@frozen
class Charge:
    """The charges of one accepted request, to be settled when it ends."""

    tickets: tuple[tuple[Dimension, Ticket], ...]

    def settle(self, now: float, answer: Answer | None, *, refunds: bool) -> None:
        """Correct each limit once the request has ended; `answer` is None if none was made."""
        for dimension, ticket in self.tickets:
            cost = _real_cost(dimension.name, ticket, answer, refunds=refunds)
            if cost != ticket.cost:
                dimension.model.settle(now, ticket, cost)


@frozen
class Refusal:
    """The limit that refused a request, and the seconds to wait; infinite when it never fits."""

    dimension: Dimension
    wait: float
    cost: float


@define(eq=False)
class Quotas:
    """The limits that hold for one API key and model."""

    scenario: Scenario
    rng: random.Random
    dimensions: tuple[Dimension, ...] = field(init=False)
    _started: float | None = field(init=False, default=None)
    _changes: list[tuple[float, float]] = field(init=False)
    _neighbour_at: float = field(init=False, default=math.inf)

    def __attrs_post_init__(self) -> None:
        self.dimensions = tuple(_dimensions(self.scenario))
        self._changes = sorted(self.scenario.quota_changes)

    def admit(self, now: float, call: Call) -> Charge | Refusal:
        """Charge every limit, or none when one of them refuses."""
        self._catch_up(now)
        costs = [(each, self._cost(each.name, call)) for each in self.dimensions]
        worst: Refusal | None = None
        for dimension, cost in costs:
            wait = dimension.model.wait(now, cost)
            if wait > 0 and (worst is None or wait > worst.wait):
                worst = Refusal(dimension, wait, cost)
        if worst is not None:
            for dimension, cost in costs:
                dimension.model.refuse(now, cost)
            return worst
        return Charge(tuple((each, each.model.take(now, cost)) for each, cost in costs))

    def states(self, now: float) -> tuple[LimitState, ...]:
        """Return the limits as headers report them."""
        return tuple(
            LimitState(
                dimension=each.name,
                limit=each.declared,
                window=each.window,
                remaining=each.model.remaining(now),
                reset=each.model.reset(now),
            )
            for each in self.dimensions
        )

    def _cost(self, name: str, call: Call) -> float:
        allowed = call.tokens_allowed
        output = self.scenario.reserved_output if allowed is None else allowed
        match name:
            case "tokens":
                return call.input_tokens + (0 if call.kind == "embed" else output)
            case "input_tokens":
                return call.input_tokens
            case _:
                return 1.0

    def _catch_up(self, now: float) -> None:
        if self._started is None:
            self._started = now
            if self.scenario.neighbour:
                self._neighbour_at = now
        while self._changes and now - self._started >= self._changes[0][0]:
            _, factor = self._changes.pop(0)
            self._scale(now, factor)
        while self._neighbour_at <= now:
            self._neighbour_asks(self._neighbour_at)
            self._neighbour_at += self.rng.expovariate(self.scenario.neighbour / _MINUTE)

    def _scale(self, now: float, factor: float) -> None:
        for dimension, original in zip(self.dimensions, _dimensions(self.scenario), strict=True):
            if dimension.name != "concurrency":
                dimension.declared = original.declared * factor
                dimension.model.resize(now, original.model.limit * factor)

    def _neighbour_asks(self, at: float) -> None:
        for dimension in self.dimensions:
            if dimension.name.startswith("requests") and dimension.model.wait(at, 1.0) == 0:
                dimension.model.take(at, 1.0)


def _real_cost(name: str, ticket: Ticket, answer: Answer | None, *, refunds: bool) -> float:
    match name:
        case "concurrency":
            return 0.0
        case "tokens" if refunds:
            return 0.0 if answer is None else answer.input_tokens + answer.output_tokens
        case "input_tokens" if refunds:
            return 0.0 if answer is None else answer.input_tokens - answer.cached_tokens
        case "output_tokens":
            return 0.0 if answer is None else answer.output_tokens
        case _:
            return ticket.cost


def _dimensions(scenario: Scenario) -> Iterator[Dimension]:
    per_minute = {
        "requests": scenario.requests_per_minute,
        "tokens": scenario.tokens_per_minute,
        "input_tokens": scenario.input_tokens_per_minute,
        "output_tokens": scenario.output_tokens_per_minute,
    }
    for name, limit in per_minute.items():
        if limit is not None:
            burst = scenario.burst if name == "requests" else None
            yield Dimension(name, limit, _MINUTE, _enforced(scenario, limit, burst))
    if (daily := scenario.requests_per_day) is not None:
        yield Dimension("requests_per_day", daily, _DAY, FixedWindow(daily, _DAY))
    if (most := scenario.max_concurrent) is not None:
        yield Dimension("concurrency", most, 0.0, ConcurrencyCap(most))


def _enforced(scenario: Scenario, limit: float, burst: float | None) -> AdmissionModel:
    window = scenario.enforcement_window
    share = limit * window / _MINUTE
    if scenario.enforcement == "bucket":
        return TokenBucket(limit, _MINUTE, burst or max(1.0, share))
    counted = max(1.0, math.floor(share))
    if scenario.enforcement == "fixed":
        return FixedWindow(counted, window)
    return SlidingLog(counted, window, scenario.enforcement == "counting")
