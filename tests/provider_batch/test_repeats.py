"""Items with the same prompt behind a cache: one line is sent, and its answer is for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import Budget, ConfigError, EndCause, Price, ProcessorConfig
from batchllm.llm_strategies import Balance, ResponseCache
from batchllm.simulator import BatchBehaviour, Fixed, Scenario
from tests.provider_batch.kit import World, outputs

pytestmark = pytest.mark.anyio

PRICE = Price(input=1_000.0, output=4_000.0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user", scenario=Scenario(answer_tokens=Fixed(40)))


def items(count: int, different: int) -> list[tuple[str, str]]:
    return [(f"item-{number}", f"prompt {number % different}") for number in range(count)]


def online_calls(world: World) -> int:
    return sum(one.path.endswith("/chat/completions") for one in world.simulator.log.entries)


async def test_each_prompt_is_sent_once(world: World) -> None:
    config = ProcessorConfig(prices={"*": PRICE})
    cache = ResponseCache(world.strategy())
    result = await world.run(items(60, 7), cache, config=config, chunk_size=5)
    plain = await run_batch(items(60, 7), world.strategy())
    assert outputs(result) == outputs(plain)
    assert len(world.billed) == 7
    assert (cache.misses, cache.hits) == (7, 53)
    paid = sum(PRICE.worst(one.input_tokens, one.output_tokens) for one in world.batches.invoice)
    assert result.cost == pytest.approx(paid / 2)
    free = [one for one in result.results if not one.cost]
    assert len(free) == 53
    assert all((one.metadata or {})["cached"] for one in free)


async def test_a_run_that_is_detached_and_goes_on_sends_no_prompt_twice(world: World) -> None:
    first = await world.run(items(30, 4), ResponseCache(world.strategy()), detach=True)
    assert "4 requests are in 1 batch" in first.termination.reason
    await anyio.sleep(600)
    result = await world.run(items(30, 4), ResponseCache(world.strategy()))
    assert result.succeeded == 30
    assert len(world.billed) == 4
    assert online_calls(world) == 0
    again = await world.run(items(30, 4), ResponseCache(world.strategy()))
    assert all(one.replayed for one in again.results)


async def test_what_the_cache_has_already_is_not_sent(world: World) -> None:
    store: dict[str, Any] = {}
    await run_batch(items(4, 4), ResponseCache(world.strategy(), store))
    result = await world.run(items(10, 6), ResponseCache(world.strategy(), store))
    assert result.succeeded == 10
    assert len(world.billed) == 2


async def test_a_prompt_that_fails_fails_each_of_its_items(world: World) -> None:
    bad = [(f"bad-{number}", "[[batch:400]] prompt") for number in range(5)]
    result = await world.run([*bad, *items(6, 3)], ResponseCache(world.strategy()))
    assert result.succeeded == 6
    assert {one.item_id for one in result.failures} <= {name for name, _ in bad}
    assert online_calls(world) <= 5


async def test_lines_that_go_online_take_their_repeats_along(world: World) -> None:
    hard = [(f"hard-{number}", "[[batch:500]] prompt") for number in range(5)]
    result = await world.run([*hard, *items(6, 3)], ResponseCache(world.strategy()))
    assert result.succeeded == 11
    assert online_calls(world) == 1


async def test_late_lines_take_their_repeats_along(tmp_path: Path) -> None:
    stuck = BatchBehaviour(finalizing=4_000.0, cancel=1e9)
    world = World(tmp_path, stuck, Scenario(answer_tokens=Fixed(40)))
    result = await world.run(
        items(12, 3),
        ResponseCache(world.strategy(max_tokens=50)),
        config=ProcessorConfig(prices={"*": PRICE}, budget=Budget(max_cost=50.0)),
        deadline=3_600,
        hedge_budget=9.0,
    )
    assert result.termination.cause is EndCause.DONE
    assert result.succeeded == 12
    assert online_calls(world) == 3


async def test_a_cache_round_calls_of_several_models_is_refused(world: World) -> None:
    cache = ResponseCache(Balance(["sim:default", "sim:default"]))
    with pytest.raises(ConfigError, match="is not of one model"):
        await world.run(items(1, 1), cache)
