"""Composites in batch mode: the first call of each item is in a batch, the others are online."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from batchllm.core import (
    Budget,
    ConfigError,
    EndCause,
    Price,
    ProcessorConfig,
    RetryConfig,
    RetryState,
)
from batchllm.llm_strategies import (
    Balance,
    Fallback,
    ModelEscalation,
    PartialRecovery,
    ProgressivePrompting,
    ProgressiveTemperature,
    ResponseCache,
    ValidationFeedback,
)
from batchllm.provider_batch.answered import Answered, opened_with
from batchllm.testing import Answer, ScriptedStrategy
from batchllm.transport import HttpReply
from tests.provider_batch.kit import MODELS, World, prompts

pytestmark = pytest.mark.anyio
TWICE = ProcessorConfig(retry=RetryConfig(max_attempts=2))
ONLINE = ("/chat/completions", "/messages", ":generateContent")


@frozen
class Place:
    city: str
    country: str


def online(world: World) -> list[str]:
    """The paths of the calls that were made online."""
    paths = [one.path for one in world.simulator.log.entries]
    return [path for path in paths if path.endswith(ONLINE)]


def bodies(world: World) -> list[dict[str, Any]]:
    """The bodies of those on OpenAI's wire."""
    read = [json.loads(one) for one in world.sent if one.startswith(b'{"model"')]
    return [one for one in read if "messages" in one]


def half_right() -> str:
    return f"[[answer:{json.dumps({'city': 'Rome'}).replace(' ', '')}]] about a city"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: Fallback([one, one]),
        lambda one: ModelEscalation([one, one]),
        lambda one: ValidationFeedback(one),
        lambda one: ProgressivePrompting(one, ["Be brief."]),
        lambda one: ResponseCache(Fallback([ValidationFeedback(one), one])),
    ],
)
async def test_answers_that_are_good_are_all_from_the_batch(
    tmp_path: Path, model: str, wrap: Any
) -> None:
    """And the same call again takes them from the journal."""
    world = World(tmp_path, model=model)
    result = await world.run(prompts(6), wrap(world.strategy()))
    assert result.succeeded == 6
    assert all(one.attempts == 1 and one.metadata["batch_id"] for one in result.results)
    assert len(world.billed) == 6
    again = await world.run(prompts(6), wrap(world.strategy()))
    assert all(one.replayed for one in again.results)
    assert online(world) == []


async def test_an_item_that_its_batches_failed_is_called_for_online(tmp_path: Path) -> None:
    """By the first model first: it may be better by then."""
    world, other = World(tmp_path), World(tmp_path / "other", model="openai:gpt-5")
    given = Fallback([world.strategy(), other.strategy()])
    result = await world.run(["good", "bad [[batch:500]]"], given)
    assert result.succeeded == 2
    assert [len(job.requests) for job in world.batches.jobs] == [2, 1]
    assert (len(online(world)), len(online(other))) == (1, 0)


async def test_a_first_model_that_fails_online_too_has_its_fallback(tmp_path: Path) -> None:
    world, other = World(tmp_path), World(tmp_path / "other", model="openai:gpt-5")
    given = Fallback([world.strategy(), other.strategy()])
    result = await world.run(["bad [[batch:500]] [[fault:503*1]]"], given)
    assert result.succeeded == 1
    assert (len(online(world)), len(online(other))) == (2, 1)


async def test_feedback_says_what_was_wrong_in_the_answer_of_the_batch(tmp_path: Path) -> None:
    world = World(tmp_path)
    given = ValidationFeedback(world.strategy(), Place)
    result = await world.run([half_right()], given, config=TWICE)
    (one,) = result.results
    assert one.attempts == 2
    (asked,) = bodies(world)
    assert "country" in json.dumps(asked["messages"])


async def test_only_what_the_answer_of_the_batch_lacks_is_asked_for_online(tmp_path: Path) -> None:
    world = World(tmp_path)
    given = PartialRecovery(world.strategy(), Place)
    await world.run([half_right()], given, config=TWICE)
    (asked,) = bodies(world)
    text = json.dumps(asked["messages"])
    assert "country" in text
    assert "Rome" in text


async def test_a_wrong_answer_of_the_batch_goes_to_the_stronger_model(tmp_path: Path) -> None:
    world, other = World(tmp_path), World(tmp_path / "other", model="openai:gpt-5")
    given = ModelEscalation([world.strategy(output=Place), other.strategy(output=Place)])
    result = await world.run([half_right(), "another"], given, config=TWICE)
    assert online(world) == []
    assert [body["model"] for body in bodies(other)] == ["gpt-5"]
    assert result.by_id()["1"].attempts == 1


async def test_what_is_tried_online_counts_for_the_budget(tmp_path: Path) -> None:
    """At the prices of each model, and at half of it in the batch."""
    world, other = World(tmp_path), World(tmp_path / "other", model="openai:gpt-5")
    given = ModelEscalation([world.strategy(output=Place), other.strategy(output=Place)])
    config = ProcessorConfig(
        prices={"*": Price(input=1.0, output=4.0)}, budget=Budget(max_cost=10.0)
    )
    result = await world.run([half_right()], given, config=config)
    (one,) = result.results
    assert result.termination.cause is EndCause.DONE
    assert one.cost is not None
    assert one.cost > 0
    assert result.cost == pytest.approx(one.cost)


async def test_an_answer_that_is_there_is_read_though_its_endpoint_is_down() -> None:
    """No other provider is paid for what has been paid for."""
    down, other = ScriptedStrategy([Answer("x")]), ScriptedStrategy([Answer("y")])

    class Reads(Answered):
        async def run(self, prompt: Any, attempt: int, timeout: float, memory: Any) -> Any:
            return await other.execute("from the batch", attempt, timeout)

    class Down(RetryState):
        __slots__ = ()

        def is_unanswered(self, inner: Any) -> bool:
            return inner is not other

    reply = HttpReply(200, {}, b"")
    given = opened_with(Fallback([ValidationFeedback(down), other]), Reads(down, reply, "batch_1"))
    await given.execute("prompt", 1, 5.0, Down())
    assert [call.prompt for call in other.calls] == ["from the batch"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: Balance([one, one]),
        lambda one: ProgressiveTemperature(one, [0.0, 1.0]),
        lambda one: Fallback([Balance([one, one]), one]),
        lambda one: Fallback([ResponseCache(one), one]),
    ],
)
async def test_one_whose_first_call_is_of_no_one_model_is_refused(
    tmp_path: Path, wrap: Any
) -> None:
    world = World(tmp_path)
    with pytest.raises(ConfigError, match="is not of one model with the prompt as it is"):
        await world.run(prompts(1), wrap(world.strategy()))
    assert world.sent == []


async def test_copies_of_a_composite_are_refused(tmp_path: Path) -> None:
    """Their money is bounded by the price of one model."""
    world = World(tmp_path)
    options: dict[str, Any] = {"deadline": 3_600, "hedge_budget": 1.0}
    with pytest.raises(ConfigError, match="Fallback may call again or call another"):
        await world.run(prompts(1), Fallback([world.strategy(), world.strategy()]), **options)
