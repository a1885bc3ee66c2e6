"""Copies online of items whose batch is late and does not end, within their own money."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from batchllm.core import Budget, ConfigError, EndCause, Price, ProcessorConfig
from batchllm.provider_batch import State
from batchllm.simulator import BatchBehaviour, Fixed, Scenario
from tests.provider_batch.kit import World, outputs, prompts

pytestmark = pytest.mark.anyio

PRICE = Price(input=1_000.0, output=4_000.0)
STUCK = BatchBehaviour(finalizing=4_000.0, cancel=1e9, cancel_races=True)
"""Executes all in two minutes, and gives the results after more than an hour, cancelled or not."""


def stuck(folder: Path, **more: Any) -> World:
    return World(folder, STUCK, Scenario(answer_tokens=Fixed(40)), **more)


def config(**more: Any) -> ProcessorConfig:
    return ProcessorConfig(prices={"*": PRICE}, max_workers=4, **more)


def online_calls(world: World) -> int:
    paths = ("/chat/completions", "/messages", ":generateContent")
    return sum(one.path.endswith(paths) for one in world.simulator.log.entries)


async def run(world: World, items: Any, **more: Any) -> Any:
    strategy = world.strategy(max_tokens=50)
    more.setdefault("config", config())
    more.setdefault("deadline", 3_600)
    return await world.run(items, strategy, **more)


@pytest.mark.parametrize("model", ["openai:m", "anthropic:m", "gemini:m"])
async def test_late_items_are_called_for_online_and_what_is_paid_twice_is_said(
    tmp_path: Path, model: str
) -> None:
    world = stuck(tmp_path, model=model)
    first = await run(world, prompts(10), hedge_budget=50.0)
    assert first.termination.cause is EndCause.DONE
    assert (first.succeeded, len(first.results)) == (10, 10)
    assert first.wall_time < 3_600
    assert all("late_batch_id" in (one.metadata or {}) for one in first.results)
    assert online_calls(world) == 10
    assert world.states() == [State.CANCELLING]
    assert first.stats["provider_batches"]["copied"] == 10
    await anyio.sleep(3_600)
    again = await run(world, prompts(10))
    assert outputs(again) == outputs(first)
    assert all(one.replayed for one in again.results)
    assert any("10 requests are paid for twice" in text for text in again.warnings)
    assert again.stats["provider_batches"]["paid_twice"] == 10
    (chunk,) = world.chunks()
    assert (chunk.state, chunk.copied, chunk.twice) == (State.CLEANED, 10, 10)
    assert chunk.twice_cost == pytest.approx(
        sum(PRICE.worst(*_tokens(one)) for one in _bill(world)) / 2
    )
    assert online_calls(world) == 10


def _bill(world: World) -> list[Any]:
    return list(world.batches.invoice)


def _tokens(line: Any) -> tuple[int, int]:
    return line.input_tokens, line.output_tokens


async def test_without_money_no_item_is_called_for_twice(tmp_path: Path) -> None:
    world = stuck(tmp_path)
    result = await run(world, prompts(5))
    assert result.termination.cause is EndCause.BATCH_TIMEOUT
    assert online_calls(world) == 0


async def test_copies_are_made_as_far_as_the_money_goes(tmp_path: Path) -> None:
    """A call takes about $0.17 and may take more; the rest is left to the batch."""
    world = stuck(tmp_path)
    result = await run(world, prompts(10), hedge_budget=1.0)
    assert result.termination.cause is EndCause.BATCH_TIMEOUT
    assert 0 < result.succeeded < 10
    assert result.cost <= 1.0
    assert result.not_run == 10 - result.succeeded
    await anyio.sleep(3_600)
    again = await run(world, prompts(10), deadline=None)
    assert again.succeeded == 10
    assert again.stats["provider_batches"]["paid_twice"] == result.succeeded
    assert online_calls(world) == result.succeeded


async def test_copies_are_within_the_budget_of_the_run_too(tmp_path: Path) -> None:
    world = stuck(tmp_path)
    budget = Budget(max_cost=2.5)
    result = await run(world, prompts(10), hedge_budget=50.0, config=config(budget=budget))
    books = result.stats["budget"]
    assert books["cost"] + books["reserved_cost"] <= 2.5
    assert 0 < result.succeeded < 10
    assert online_calls(world) == result.succeeded


async def test_an_item_whose_copy_is_cut_off_has_its_answer_from_the_batch(
    tmp_path: Path,
) -> None:
    """Cut off by the deadline it is not done, and the same call has its answer later."""
    world = stuck(tmp_path)
    items = [f"[[latency:4000]] prompt {number}" for number in range(4)]
    result = await run(world, items, hedge_budget=50.0)
    assert result.termination.cause is EndCause.BATCH_TIMEOUT
    assert result.succeeded == 0
    await anyio.sleep(3_600)
    again = await run(world, items, deadline=None)
    assert again.succeeded == 4
    assert all("late_batch_id" not in (one.metadata or {}) for one in again.results)


async def test_a_batch_that_ends_in_time_needs_no_copies(tmp_path: Path) -> None:
    world = World(tmp_path, BatchBehaviour(run=4_000.0, cancel=60.0))
    result = await run(world, prompts(10), hedge_budget=50.0)
    assert result.succeeded == 10
    assert result.stats["provider_batches"]["copied"] == 0
    assert len(world.billed) + online_calls(world) == 10


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"hedge_budget": 3.0}, "it is for items that would miss a deadline"),
        ({"hedge_budget": 3.0, "deadline": 9, "on_late": "wait"}, "leave on_late at 'online'"),
        ({"hedge_budget": 0, "deadline": 9}, "give US dollars above 0, or None"),
        ({"hedge_budget": 3.0, "deadline": 9}, "hedge_budget is money, and no price is known"),
    ],
)
async def test_copies_need_a_deadline_and_a_price(
    tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    world = World(tmp_path, model="openai:unheard-of")
    with pytest.raises(ConfigError, match=words):
        await world.run(prompts(1), **more)
