"""Escalation against a provider that fails in both ways: what its log says."""

from collections import defaultdict

import pytest

from batchllm.llm_strategies import ModelEscalation, ModelStrategy
from batchllm.providers import ChatModel
from batchllm.simulator import FaultPlan, LogEntry, Scenario, Simulator, SimulatorTransport
from batchllm.structured import json_schema, parse
from tests.llm_strategies.world import TIRELESS, Person, run

pytestmark = pytest.mark.anyio

SHAPES = {"fenced", "invalid-json", "missing-field", "trailing", "wrong-type"}


def asking(name: str, simulator: Simulator) -> ModelStrategy[Person]:
    model = ChatModel(
        name,
        profile="openai-compatible",
        base_url="http://simulator/v1",
        http=SimulatorTransport(simulator),
        schema=json_schema(Person, strict=True),
    )
    return ModelStrategy(model, lambda response: parse(response.text, Person))


def faults_of(entry: LogEntry) -> set[str]:
    return set((entry.fault or "").split("+"))


async def test_the_strong_model_is_asked_only_after_answers_that_were_not_valid() -> None:
    """With a fifth of calls lost and a fifth of answers wrong the log has, for every item, calls
    of the cheap model up to its first wrong answer, and calls of the strong one after that."""
    scenario = Scenario(faults=FaultPlan(rate=0.2, mix={"disconnect": 1.0}), wrong_answers=0.2)
    simulator = Simulator(scenario, seed=5)
    strategy = ModelEscalation([asking("cheap", simulator), asking("strong", simulator)])
    prompts = [f"Who is number {n}?" for n in range(300)]
    batch = await run(strategy, *prompts, config=TIRELESS, concurrency=50)
    assert batch.succeeded == 300

    by_item = defaultdict[str, list[LogEntry]](list)
    for entry in simulator.log.entries:
        by_item[entry.prompt].append(entry)
    escalated = lost = 0
    for calls in by_item.values():
        wrong = [call.outcome == "ok" and bool(SHAPES & faults_of(call)) for call in calls]
        first = wrong.index(True) if any(wrong) else len(calls)
        expected = ["cheap"] * min(first + 1, len(calls))
        expected += ["strong"] * (len(calls) - len(expected))
        assert [call.model for call in calls] == expected
        escalated += first < len(calls)
        lost += any("disconnect" in faults_of(call) for call in calls)
    assert 30 < escalated < 90
    assert lost > 30
