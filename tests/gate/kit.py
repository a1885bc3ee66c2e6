"""Callers of a gate, and strategies behind simulated providers, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, field

from batchllm.core import CallCost, Outcome, ServerHint
from batchllm.gate import CallerLimits, Gate, Permit
from batchllm.llm_strategies import llm
from batchllm.simulator import LogEntry, Simulator, SimulatorTransport, parse_scenario

ONE = CallCost()

Verdict = Callable[[int, float], tuple[Outcome, ServerHint | None]]


def accepted(number: int, at: float) -> tuple[Outcome, ServerHint | None]:
    """Say that call *number*, sent at *at*, went well."""
    return Outcome.OK, None


@define(eq=False)
class Callers:
    """Makes calls through gates and writes down when they started."""

    gate: Gate
    limits: CallerLimits | None = None
    seconds: float = 1.0
    verdict: Verdict = accepted
    started: list[tuple[float, Any]] = field(factory=list, init=False)
    in_flight: int = field(default=0, init=False)
    most: int = field(default=0, init=False)

    async def call(self, name: Any = None, cost: CallCost = ONE, priority: int = 0) -> Permit:
        """Make one call."""
        permit = await self.gate.admit(cost, self.limits, priority=priority)
        number = len(self.started)
        self.started.append((anyio.current_time(), name))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        sent = permit.at
        try:
            await anyio.sleep(self.seconds)
        except BaseException:
            self.in_flight -= 1
            permit.abandon()
            raise
        self.in_flight -= 1
        outcome, hint = self.verdict(number, sent)
        permit.report(outcome, anyio.current_time(), hint=hint)
        return permit

    async def insist(self, name: Any = None, cost: CallCost = ONE) -> None:
        """Call until it is accepted."""
        count = len(self.started)
        while True:
            permit = await self.gate.admit(cost, self.limits)
            self.started.append((anyio.current_time(), name))
            await anyio.sleep(self.seconds)
            outcome, hint = self.verdict(count, permit.at)
            permit.report(outcome, anyio.current_time(), hint=hint)
            if outcome is Outcome.OK:
                return

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.started]

    @property
    def names(self) -> list[Any]:
        return [name for _, name in self.started]


def open_gate(**options: Any) -> Gate:
    """Give a gate that begins without a ramp, since a limit on requests is known."""
    return Gate(**{"requests_per_minute": 6_000_000, "seed": 1, **options})


def idle(gate: Gate) -> bool:
    """Return whether the gate holds no call and none waits at it."""
    return gate.waiting == 0 and gate.limiter.in_flight == 0


async def turns(count: int) -> None:
    """Let every other task have so many turns."""
    for _ in range(count):
        await checkpoint()


def provider(scenario: str, **options: Any) -> tuple[Any, Simulator]:
    """Give a strategy, and the simulated provider that it asks."""
    simulator = Simulator(parse_scenario(scenario), seed=1)
    return llm("sim:default", http=SimulatorTransport(simulator), **options), simulator


def sent(simulator: Simulator) -> list[float]:
    """When requests arrived."""
    return [entry.arrived for entry in simulator.log]


def refused(simulator: Simulator) -> list[LogEntry]:
    """The requests that were refused, for a quota or on purpose."""
    return [entry for entry in simulator.log if entry.status in (429, 503, 529)]


def most_within(times: list[float], seconds: float) -> int:
    """The most that arrived in any half-open interval of that length."""
    most = begin = 0
    for end, at in enumerate(times):
        while at - times[begin] >= seconds - 1e-6:
            begin += 1
        most = max(most, end - begin + 1)
    return most
