"""Middleware round items of batches: in before they are written down, out as online."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import define, evolve, field

from batchllm.api import run_batch
from batchllm.core import SKIP, BaseMiddleware, LLMWorkItem, ProcessorConfig, WorkItemResult
from batchllm.middleware import RedactingMiddleware, SkippingMiddleware
from batchllm.simulator import BatchBehaviour
from tests.provider_batch.kit import Fuse, World, killed, lay_fuse, marked, outputs, prompts

pytestmark = pytest.mark.anyio


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


@define(eq=False, slots=False)
class Notes(BaseMiddleware):
    """Changes each prompt, and keeps what it saw."""

    mark: str = " (changed)"
    calls: list[str] = field(factory=list)

    async def before_process(self, work_item: LLMWorkItem[Any, Any, Any]) -> Any:
        self.calls.append(f"in {work_item.item_id}")
        return evolve(work_item, prompt=f"{work_item.prompt}{self.mark}")

    async def after_process(
        self, work_item: LLMWorkItem[Any, Any, Any], result: WorkItemResult[Any, Any]
    ) -> Any:
        self.calls.append(f"out {result.item_id}")
        assert self.mark in work_item.prompt
        return evolve(result, output=f"seen: {result.output}")

    async def on_retry(
        self, work_item: LLMWorkItem[Any, Any, Any], attempt: int, error: Exception
    ) -> None:
        self.calls.append(f"retry {work_item.item_id}")

    async def on_error(self, work_item: LLMWorkItem[Any, Any, Any], error: Exception) -> None:
        self.calls.append(f"error {work_item.item_id}")


def sent(world: World) -> str:
    """All that the provider got, in batches and online."""
    return b"\n".join(world.sent).decode()


async def test_results_are_those_of_an_online_run_with_the_same_middleware(world: World) -> None:
    notes = Notes()
    result = await world.run(prompts(12), middlewares=[notes], chunk_size=5)
    plain = await run_batch(prompts(12), world.strategy(), middlewares=[Notes()])
    assert outputs(result) == outputs(plain)
    assert sorted(notes.calls) == sorted(
        [f"{way} {number}" for way in ("in", "out") for number in range(12)]
    )
    assert "prompt 3 (changed)" in sent(world)
    assert len(world.billed) == 12


async def test_what_is_redacted_is_never_sent_not_even_by_a_repair_after_a_restart(
    world: World,
) -> None:
    secret = "a.b@example.org"
    items = [f"{text} of {secret}" for text in marked(8, dict.fromkeys(range(4), "500"))]
    redact = RedactingMiddleware()
    first = await world.run(items, middlewares=[redact], detach=True)
    assert first.not_run == 8
    result = await world.run(items, middlewares=[RedactingMiddleware()])
    assert result.succeeded == 8
    posts = [one for one in world.simulator.log.entries if one.path.endswith("/chat/completions")]
    assert len(posts) == 4
    assert secret not in sent(world)
    assert "[email]" in sent(world)
    assert not result.warnings


async def test_items_are_left_out_and_fail_as_online(world: World) -> None:
    class Picky(BaseMiddleware):
        async def before_process(self, work_item: LLMWorkItem[Any, Any, Any]) -> Any:
            if work_item.item_id == "1":
                raise ValueError("no")
            if work_item.item_id == "2":
                return SKIP
            if work_item.item_id == "3":
                return evolve(work_item, strategy=world.strategy())
            return None

    result = await world.run(prompts(6), middlewares=[Picky()])
    assert result.succeeded == 3
    assert result.skipped == 1
    by_id = result.by_id()
    assert by_id["1"].error_category == "middleware_error"
    assert by_id["2"].error_category == "skipped"
    assert any("has a strategy of its own" in str(one.error) for one in result.failures)
    assert len(world.billed) == 3
    again = await world.run(prompts(6), middlewares=[Picky()])
    assert len(world.billed) == 3
    assert again.by_id()["1"].replayed


async def test_middleware_that_waits_is_waited_for_by_several_at_a_time(world: World) -> None:
    class Slow(BaseMiddleware):
        async def before_process(self, work_item: LLMWorkItem[Any, Any, Any]) -> None:
            await anyio.sleep(1.0)

    config = ProcessorConfig(max_workers=25)
    began = anyio.current_time()
    result = await world.run(prompts(200), middlewares=[Slow()], config=config, detach=True)
    assert result.not_run == 200
    assert anyio.current_time() - began < 30


async def test_a_chain_goes_in_by_its_order_and_out_in_reverse(world: World) -> None:
    skips = SkippingMiddleware(lambda item: "prompt 2" in item.prompt)
    result = await world.run(prompts(4), middlewares=[Notes(" one"), Notes(" two"), skips])
    assert result.skipped == 1
    assert "prompt 1 one two" in sent(world)
    assert "prompt 2" not in sent(world)


async def test_each_run_takes_items_past_middleware_once(world: World) -> None:
    """A run that goes on does so again, and asks nothing twice."""
    await world.run(prompts(6), middlewares=[Notes()], detach=True)
    notes = Notes()
    result = await world.run(prompts(6), middlewares=[notes])
    assert result.succeeded == 6
    assert sorted(notes.calls) == sorted(
        [f"{way} {number}" for way in ("in", "out") for number in range(6)]
    )
    assert not result.warnings
    third = Notes()
    await world.run(prompts(6), middlewares=[third])
    assert not third.calls
    assert len(world.billed) == 6


async def test_another_prompt_than_that_which_was_sent_is_said(world: World) -> None:
    await world.run(prompts(4), middlewares=[Notes()], detach=True)
    result = await world.run(prompts(4), middlewares=[Notes(" differently")])
    assert result.succeeded == 4
    assert [("another prompt than before_process" in text) for text in result.warnings] == [True]
    assert len(world.billed) == 4


async def test_failures_reach_the_hooks(world: World) -> None:
    notes = Notes()
    items = marked(4, {0: "400", 1: "500"})
    result = await world.run(items, middlewares=[notes], batch_rounds=1)
    assert result.failed == 1
    assert "error 0" in notes.calls


async def test_a_process_that_ends_at_any_point_sends_nothing_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = BatchBehaviour(queue=4.0, run=4.0, finalizing=0.0)
    for at in range(1, 60, 6):
        world = World(tmp_path / f"{at}", quick)
        image = tmp_path / f"{at}-image"
        fuse = Fuse(world.folder, image, at)
        with monkeypatch.context() as patch:
            lay_fuse(patch, fuse)
            strategy = world.strategy(fuse=fuse)

            async def run(world: World = world, strategy: Any = strategy) -> None:
                await world.run(prompts(6), strategy, middlewares=[Notes()], chunk_size=4)

            if not await killed(run):
                break
        if not (image / "run.db").exists():
            image = world.folder
        result = await world.run(
            prompts(6), journal=world.journal(image), middlewares=[Notes()], chunk_size=4
        )
        assert result.succeeded == 6, at
        assert len(world.billed) == len(set(world.billed)) == 6, at
        lines = [line for line in b"\n".join(world.sent).splitlines() if b"custom_id" in line]
        assert lines, at
        assert all(b"(changed)" in line for line in lines), at
