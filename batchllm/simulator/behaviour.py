"""The fate of a request: refused, failed on purpose, or answered, and when. Pure and seeded.

The time is an argument; all randomness comes from the seed, the request and the attempt, so that
the same request has the same fate whatever else goes on.
"""

import random

from attrs import define, evolve, field, frozen

from batchllm.simulator.admission import ServiceQueue
from batchllm.simulator.answers import compose, request_rng
from batchllm.simulator.caches import ContextCaches, PromptCache, missing_cache
from batchllm.simulator.faults import (
    SHAPE_FAULTS,
    STATUS_FAULTS,
    Fault,
    settings_in_prompt,
)
from batchllm.simulator.quotas import Charge, Quotas, Refusal
from batchllm.simulator.scenarios import Scenario
from batchllm.simulator.wires import Answer, Call, LimitState, Problem

_SHAPES = sorted(SHAPE_FAULTS)


@frozen(kw_only=True)
class Decision:
    """The fate of one request.

    Exactly one of `answer` and `problem` is there. `latency` is the seconds to the first byte;
    `seconds_per_token` comes on top for each token. `refused` marks a refusal by a limit, in
    contrast to a failure on purpose.
    """

    answer: Answer | None = None
    problem: Problem | None = None
    refused: bool = False
    faults: tuple[Fault, ...] = ()
    latency: float = 0.0
    seconds_per_token: float = 0.0
    retry_after: float | str | None = None
    limits: tuple[LimitState, ...] = ()
    charge: Charge | None = None


@define(eq=False)
class Behaviour:
    """The memory of one simulated provider: quotas by scope, attempts by request, its queue."""

    scenario: Scenario
    seed: int = 0
    caches: ContextCaches = field(init=False)
    _quotas: dict[tuple[str, str], Quotas] = field(init=False, factory=dict)
    _attempts: dict[str, int] = field(init=False, factory=dict)
    _queue: ServiceQueue | None = field(init=False, default=None)
    _prompts: PromptCache = field(init=False, factory=PromptCache)

    def __attrs_post_init__(self) -> None:
        self.caches = ContextCaches(self.scenario.shortest_cache)
        if self.scenario.slots is not None:
            self._queue = ServiceQueue(self.scenario.slots, self.scenario.queue_capacity)

    def attempt(self, digest: str) -> int:
        """Count one more arrival of a request; the first is 1."""
        seen = self._attempts.get(digest, 0) + 1
        self._attempts[digest] = seen
        return seen

    def decide(
        self, call: Call, *, key: str, number: int, attempt: int, now: float, wall: float
    ) -> Decision:
        """Decide what happens to a request that has arrived at `now`, by the calendar at `wall`.

        Raises:
            ValueError: a marker in the prompt names no known fault.
        """
        rng = request_rng(self.seed, call.digest, attempt, "fate")
        problem = self._checked(call, key)
        if problem is not None:
            return self._failed(problem, rng)
        quotas = self._quotas_of(key, call.model)
        charge = quotas.admit(now, call)
        if isinstance(charge, Refusal):
            return self._refused(charge, quotas.states(now), now, rng)
        faults = self.scenario.faults.choose(number, call.prompt, attempt, rng)
        if rng.random() < self.scenario.noise:
            faults = (*faults, Fault("429"))
        decision = self._admitted(call, faults, now, wall, rng)
        limits = quotas.states(now) if self.scenario.limit_headers else ()
        return evolve(decision, charge=charge, limits=limits)

    def settle(self, decision: Decision, now: float) -> None:
        """Give back what the request did not use, once it has ended."""
        if decision.charge is not None:
            decision.charge.settle(now, decision.answer, refunds=self.scenario.refunds)

    def _checked(self, call: Call, key: str) -> Problem | None:
        scenario = self.scenario
        if scenario.api_key is not None and key != scenario.api_key:
            return STATUS_FAULTS["401"]
        if scenario.models and call.model not in scenario.models:
            return evolve(
                STATUS_FAULTS["404"],
                message=f"The model `{call.model}` does not exist or you do not have access to it.",
            )
        if scenario.context_tokens is not None and call.input_tokens > scenario.context_tokens:
            return evolve(
                STATUS_FAULTS["context-length"],
                limit=scenario.context_tokens,
                requested=call.input_tokens,
            )
        return None

    def _admitted(
        self, call: Call, faults: tuple[Fault, ...], now: float, wall: float, rng: random.Random
    ) -> Decision:
        for fault in faults:
            if fault.name in STATUS_FAULTS:
                return self._failed(
                    STATUS_FAULTS[fault.name],
                    rng,
                    faults=(fault,),
                    retry_after=_hint(fault),
                )
        if call.kind == "control":
            return self._controlled(call, faults, wall, rng)
        cached = self._cached_tokens(call, wall)
        if isinstance(cached, Problem):
            return self._failed(cached, rng)
        answer, faults = self._answer(call, faults, now, rng)
        if cached:
            total = answer.input_tokens + cached
            answer = evolve(answer, input_tokens=total, cached_tokens=cached)
        asked = settings_in_prompt(call.prompt).get("latency")
        latency = float(asked) if asked else self.scenario.latency.draw(rng)
        waited = self._queued(answer, latency, now)
        if waited is None:
            return evolve(self._failed(STATUS_FAULTS["503"], rng), refused=True)
        return Decision(
            answer=answer,
            faults=faults,
            latency=waited + latency,
            seconds_per_token=self.scenario.seconds_per_token,
        )

    def _controlled(
        self, call: Call, faults: tuple[Fault, ...], wall: float, rng: random.Random
    ) -> Decision:
        done = self.caches.control(call, wall)
        if isinstance(done, Problem):
            return self._failed(done, rng)
        return Decision(
            answer=Answer(resource=done), faults=faults, latency=self.scenario.latency.draw(rng)
        )

    def _cached_tokens(self, call: Call, wall: float) -> int | Problem:
        name = call.details.get("cached_content")
        if name is None:
            return 0
        cache = self.caches.get(name, wall)
        return missing_cache(name) if cache is None else cache.tokens

    def _answer(
        self, call: Call, faults: tuple[Fault, ...], now: float, rng: random.Random
    ) -> tuple[Answer, tuple[Fault, ...]]:
        if call.schema is not None and rng.random() < self.scenario.wrong_answers:
            faults = (*faults, Fault(rng.choice(_SHAPES)))
        words = request_rng(self.seed, call.digest, 0, "words")
        answer = compose(
            call,
            length=round(self.scenario.answer_tokens.draw(words)),
            said=settings_in_prompt(call.prompt).get("answer"),
            faults=faults,
            words=words,
            rng=rng,
        )
        if call.prefix is not None:
            answer = self._prompts.apply(answer, call.prefix, now)
        return answer, faults

    def _queued(self, answer: Answer, latency: float, now: float) -> float | None:
        if self._queue is None:
            return 0.0
        service = latency + answer.output_tokens * self.scenario.seconds_per_token
        place = self._queue.enter(now, service)
        return None if place is None else place.start - now

    def _failed(
        self,
        problem: Problem,
        rng: random.Random,
        *,
        faults: tuple[Fault, ...] = (),
        retry_after: float | str | None = None,
    ) -> Decision:
        return Decision(
            problem=problem,
            faults=faults,
            retry_after=retry_after,
            latency=self.scenario.refusal_latency.draw(rng),
        )

    def _refused(
        self, refusal: Refusal, limits: tuple[LimitState, ...], now: float, rng: random.Random
    ) -> Decision:
        dimension = refusal.dimension
        never = refusal.wait == float("inf")
        daily = dimension.name == "requests_per_day"
        problem = Problem(
            status=429,
            kind="request_too_large" if never else "daily_limit" if daily else "rate_limit",
            message="Rate limit reached.",
            dimension=dimension.name,
            limit=dimension.declared if self.scenario.hints else None,
            used=max(0.0, dimension.declared - dimension.model.remaining(now)),
            requested=refusal.cost,
        )
        hinted = self.scenario.hints and not never
        return Decision(
            problem=problem,
            refused=True,
            retry_after=refusal.wait if hinted else None,
            limits=limits if self.scenario.limit_headers else (),
            latency=self.scenario.refusal_latency.draw(rng),
        )

    def _quotas_of(self, key: str, model: str) -> Quotas:
        quotas = self._quotas.get((key, model))
        if quotas is None:
            rng = random.Random(f"{self.seed}/{key}/{model}")
            quotas = self._quotas[key, model] = Quotas(self.scenario, rng)
        return quotas


def _hint(fault: Fault) -> float | str | None:
    if fault.argument is None:
        return None
    if fault.argument.endswith("ms"):
        return float(fault.argument.removesuffix("ms")) / 1000
    return fault.argument if fault.name == "429" else fault.number(0.0)
