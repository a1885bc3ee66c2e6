"""The simulated provider without I/O: a request in, a reply on a schedule out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from attrs import asdict, define, field

from batchllm.simulator.behaviour import Behaviour, Decision
from batchllm.simulator.log import LogEntry, Outcome, SimulatorLog, leading_text, prompt_digest
from batchllm.simulator.rendering import Exhibit, invalid_reply, render, whole
from batchllm.simulator.scenarios import Scenario, parse_scenario
from batchllm.simulator.wires import (
    Call,
    Context,
    Problem,
    Wire,
    WireProblem,
    WireReply,
    WireRequest,
    all_wires,
)

if TYPE_CHECKING:
    from batchllm.simulator.batches import BatchApi, BatchBehaviour, Batches

_MAY_BE_FOR_BATCHES = re.compile(r"/(?:files|batches)\b|:(?:batch|asyncBatch)\w+$")
"""In the path of a request: only for these are the batch APIs loaded, which then look for
themselves. They are a third of the simulator, and few programs ask for them."""

_DAY_ONE = 1_767_225_600.0
"""The first of January 2026, at which a simulator's own wall clock starts."""

_BROKEN_BY = frozenset(
    {
        "502-html",
        "200-html",
        "connect",
        "disconnect",
        "disconnect-body",
        "empty-body",
        "error-200",
        "malformed-body",
        "redirect",
        "stall",
        "stall-body",
        "stall-head",
        "stream-error",
    }
)
# A request, or a schema in it, of an unforeseen shape is the client's mistake.
_MISSHAPEN = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
_BROKEN_STREAM_BY = frozenset({"no-terminal"})


def _to_scenario(given: Scenario | str) -> Scenario:
    return parse_scenario(given) if isinstance(given, str) else given


@define(eq=False)
class Exchange:
    """One request and its reply; the front end that plays the reply calls `finish` exactly once."""

    reply: WireReply
    _on_finish: Callable[[bool], None] | None = None

    def finish(self, *, aborted: bool = False) -> None:
        """Note that the reply has been played, or that the client left before its end."""
        if self._on_finish is not None:
            self._on_finish(aborted)
            self._on_finish = None


@define(eq=False)
class Simulator:
    """A provider that answers from a seed.

    Args:
        scenario: What it is like; a text is read by `parse_scenario`.
        seed: Answers, latencies and faults follow from it, the request and the attempt.
        clock: Seconds, from anywhere; quotas and the log go by it.
        wall_clock: Seconds since 1970 for dates on the wire. Unless given, it starts at the
            first of January 2026 and follows `clock`.
        log: Where requests are recorded; a new one in memory unless given.
        batch_behaviour: How batches of the provider go; `BatchBehaviour()` unless given.
    """

    scenario: Scenario = field(factory=Scenario, converter=_to_scenario)
    seed: int = field(default=0, kw_only=True)
    clock: Callable[[], float] = field(default=anyio.current_time, kw_only=True)
    wall_clock: Callable[[], float] | None = field(default=None, kw_only=True)
    log: SimulatorLog = field(factory=SimulatorLog, kw_only=True)
    batch_behaviour: BatchBehaviour | None = field(default=None, kw_only=True)
    _batches: Batches | None = field(init=False, default=None)
    _batch_apis: tuple[BatchApi, ...] = field(init=False, default=())
    _behaviour: Behaviour = field(init=False)
    _wires: tuple[Wire, ...] = field(init=False, factory=all_wires)
    _started: float | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._behaviour = Behaviour(self.scenario, self.seed)

    @property
    def batches(self) -> Batches:
        """The provider's batches, with what goes wrong with them and what was billed."""
        if self._batches is None:
            from batchllm.simulator.batches import BatchBehaviour, Batches

            behaviour = self.batch_behaviour or BatchBehaviour()
            self._batches = Batches(self.scenario, self.seed, self._wires, behaviour)
        return self._batches

    def handle(self, request: WireRequest) -> Exchange:
        """Decide on a request that arrives now."""
        now = self.clock()
        if self._started is None:
            self._started = now
        if request.path.startswith("/__sim/"):
            return Exchange(self._about_itself(request))
        entry = self.log.open(
            method=request.method,
            path=request.path,
            arrived=now,
            client_id=request.headers.get("x-client-request-id"),
        )
        api = self._batch_api_for(request)
        if api is not None:
            reply = self.batches.handle(api, request, _key_of(request), self._wall_time(now))
            entry.status, entry.outcome = reply.status if reply.sends_head else 0, "control"
            return Exchange(reply, partial(self._finish, entry, None))
        wire = next((wire for wire in self._wires if wire.matches(request)), None)
        if wire is None:
            return self._refuse(entry, self._wires[0], _no_such_path(request))
        try:
            call = wire.parse(request)
        except WireProblem as error:
            return self._refuse(entry, wire, error.problem)
        except _MISSHAPEN as error:
            return self._refuse(entry, wire, _misshapen(error))
        return self._answer(entry, wire, call, _key_of(request), now)

    def _batch_api_for(self, request: WireRequest) -> BatchApi | None:
        if _MAY_BE_FOR_BATCHES.search(request.path) is None:
            return None
        if not self._batch_apis:
            from batchllm.simulator.batches import AnthropicBatches, GeminiBatches, OpenAIBatches

            batches = self.batches
            self._batch_apis = (
                GeminiBatches(batches),
                OpenAIBatches(batches),
                AnthropicBatches(batches),
            )
        return next((one for one in self._batch_apis if one.matches(request)), None)

    def stats(self) -> dict[str, Any]:
        """The log's summary with what else the simulator knows, as plain JSON values."""
        caches = self._behaviour.caches
        if self._started is not None:
            caches.forget_expired(self._wall_time(self.clock()))
        return {
            "scenario": self.scenario.name,
            "seed": self.seed,
            **self.log.summary(),
            "caches": asdict(caches.counts),
        }

    def _answer(self, entry: LogEntry, wire: Wire, call: Call, key: str, now: float) -> Exchange:
        entry.attempt = self._behaviour.attempt(call.digest)
        try:
            decision = self._behaviour.decide(
                call,
                key=key,
                number=entry.number,
                attempt=entry.attempt,
                now=now,
                wall=self._wall_time(now),
            )
        except _MISSHAPEN as error:
            return self._refuse(entry, wire, _misshapen(error))
        reply = render(Exhibit(wire, call, decision, self._context(entry, decision)))
        _describe(entry, call, decision, reply)
        return Exchange(reply, partial(self._finish, entry, decision))

    def _refuse(self, entry: LogEntry, wire: Wire, problem: Problem) -> Exchange:
        entry.status = problem.status
        reply = invalid_reply(wire, problem, self._context(entry, Decision()))
        return Exchange(reply, partial(self._finish, entry, None))

    def _context(self, entry: LogEntry, decision: Decision) -> Context:
        return Context(
            request_id=entry.request_id,
            now=self._wall_time(entry.arrived),
            profile=self.scenario.profile,
            limits=decision.limits,
            retry_after=decision.retry_after,
            latency=decision.latency,
        )

    def _wall_time(self, now: float) -> float:
        if self.wall_clock is not None:
            return self.wall_clock()
        return _DAY_ONE + now - (now if self._started is None else self._started)

    def _finish(self, entry: LogEntry, decision: Decision | None, aborted: bool) -> None:
        now = self.clock()
        if decision is not None:
            self._behaviour.settle(decision, now)
        if aborted:
            entry.outcome = "aborted"
        self.log.close(entry, now)

    def _about_itself(self, request: WireRequest) -> WireReply:
        if request.path == "/__sim/log":
            return whole(200, self.log.to_jsonl().encode(), kind="application/x-ndjson")
        if request.path == "/__sim/stats":
            return whole(200, json.dumps(self.stats()).encode())
        if request.path == "/__sim/invoice":
            self.batches.catch_up(self._wall_time(self.clock()))
            lines = [line.as_dict() for line in self.batches.invoice]
            return whole(200, json.dumps(lines).encode())
        known = b"/__sim/log, /__sim/stats and /__sim/invoice"
        return whole(404, b'{"error":"known are %s"}' % known)


def _describe(entry: LogEntry, call: Call, decision: Decision, reply: WireReply) -> None:
    entry.model = call.model
    entry.stream = call.stream
    entry.digest = call.digest
    entry.prompt_digest = prompt_digest(call.headline)
    entry.prompt = leading_text(call.headline)
    entry.status = reply.status if reply.sends_head else 0
    entry.fault = "+".join(fault.name for fault in decision.faults) or None
    entry.outcome = _outcome(call, decision)
    if decision.answer is not None:
        entry.input_tokens = decision.answer.input_tokens
        entry.output_tokens = decision.answer.output_tokens
        entry.cached_tokens = decision.answer.cached_tokens


def _outcome(call: Call, decision: Decision) -> Outcome:
    if decision.refused:
        return "refused"
    if decision.problem is not None:
        return "fault" if decision.faults else "invalid"
    if call.kind == "control":
        return "control"
    broken_by = _BROKEN_BY | _BROKEN_STREAM_BY if call.stream else _BROKEN_BY
    broken = any(fault.name in broken_by for fault in decision.faults)
    return "fault" if broken else "ok"


def _key_of(request: WireRequest) -> str:
    headers = request.headers
    bearer = headers.get("authorization", "").removeprefix("Bearer ")
    return (
        bearer
        or headers.get("api-key")
        or headers.get("x-api-key")
        or headers.get("x-goog-api-key")
        or ""
    )


def _misshapen(error: Exception) -> Problem:
    message = f"The request is not valid: {error}"
    return Problem(status=400, kind="invalid_request", message=message)


def _no_such_path(request: WireRequest) -> Problem:
    message = f"Unknown request URL: {request.method} {request.path}."
    return Problem(status=404, kind="not_found", message=message)
