"""The bounds of item and batch hold in every hook, and shelter has a short deadline of its own."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from batchllm.api import BatchRun, open_pool, run_batch
from batchllm.core import (
    BaseMiddleware,
    BatchResult,
    LLMCallStrategy,
    ProcessorConfig,
    RetryConfig,
)
from batchllm.engine.hook_bounds import HookBound
from batchllm.engine.item import ItemRun
from batchllm.testing import ScriptedStrategy

pytestmark = pytest.mark.anyio

BEFORE = ("before_process", "on_retry", "strategy.on_error", "dry_run")
AFTER = ("after_process", "on_error", "post_processor")
GRACE = ProcessorConfig().cleanup_timeout


class Failing(LLMCallStrategy[str]):
    """Fails twice, then answers; hangs in the hook that it is to hang in."""

    def __init__(self, hook: str) -> None:
        self.hook = hook

    async def execute(self, prompt: Any, attempt: int, timeout: float, *_: Any) -> Any:
        if self.hook == "on_error" or (attempt == 1 and self.hook in BEFORE):
            raise ValueError("no")
        return "x", None

    async def on_error(self, exception: Exception, attempt: int, *_: Any, **__: Any) -> None:
        if self.hook == "strategy.on_error":
            await anyio.sleep_forever()

    async def dry_run(self, prompt: Any) -> Any:
        await anyio.sleep_forever()


def hanging(hook: str) -> BaseMiddleware:
    """Make a middleware whose *hook* never ends."""

    async def hang(*_: Any) -> None:
        await anyio.sleep_forever()

    middleware = BaseMiddleware()
    if hasattr(middleware, hook):
        setattr(middleware, hook, hang)
    return middleware


async def run_hanging(hook: str, config: ProcessorConfig, **more: Any) -> BatchResult[Any, Any]:
    """Run one item whose *hook* hangs."""

    async def hang(result: Any) -> None:
        await anyio.sleep_forever()

    return await run_batch(
        ["a"],
        Failing(hook),
        config=config.with_changes(
            retry=RetryConfig(max_attempts=2, initial_wait=0.0), dry_run=hook == "dry_run"
        ),
        middlewares=[hanging(hook)],
        post_processor=hang if hook == "post_processor" else None,
        **more,
    )


@pytest.mark.parametrize("hook", [*BEFORE, *AFTER])
async def test_the_batchs_time_ends_a_hook(hook: str) -> None:
    """A hook before a result ends at once; one after it has a short time still."""
    result = await run_hanging(hook, ProcessorConfig(batch_timeout=5.0))
    assert anyio.current_time() == 5.0 + (GRACE if hook in AFTER else 0.0)
    assert result.termination.cause == "batch_timeout"
    assert result.total_items == 1


@pytest.mark.parametrize("hook", [*BEFORE, *AFTER])
async def test_a_cancellation_from_outside_ends_a_hook(hook: str) -> None:
    """Also if the hook's own bound is a minute, or there is none."""
    for hook_timeout in (60.0, None):
        start, run = anyio.current_time(), BatchRun[Any]()
        with anyio.move_on_after(5.0) as scope:
            await run_hanging(hook, ProcessorConfig(hook_timeout=hook_timeout), into=run)
        assert scope.cancelled_caught
        assert anyio.current_time() - start == 5.0 + (GRACE if hook in AFTER else 0.0)
        assert run.result.total_items == (1 if hook in AFTER else 0)


@pytest.mark.parametrize("bound", ["timeout_per_item", "deadline_per_item"])
async def test_the_items_time_ends_a_hook(bound: str) -> None:
    """A hook before the first call ends with the item's time, and the error names the setting."""
    config = ProcessorConfig(retry=RetryConfig(max_attempts=1)).with_changes(**{bound: 5.0})
    result = await run_batch(
        ["a"], ScriptedStrategy(), config=config, middlewares=[hanging("before_process")]
    )
    assert anyio.current_time() == 5.0
    (only,) = result.results
    assert only.error_category == "timeout"
    assert f"took longer than what {bound} (5 s) left of it" in str(only.error)


@pytest.mark.parametrize("hook", AFTER)
async def test_a_hook_after_the_result_has_a_short_time_if_the_item_has_none(hook: str) -> None:
    """The result is there, so the hook may see it; the item's time bounds a hang all the same."""
    result = await run_hanging(hook, ProcessorConfig(deadline_per_item=5.0))
    assert anyio.current_time() == GRACE
    assert result.total_items == 1
    assert "what deadline_per_item (5 s) left of it" in repr(result.results[0])


async def test_a_middleware_that_is_cut_off_lets_no_answer_past_it() -> None:
    """A redactor that was not done must not leak; a failure that was there already stays."""
    result = await run_hanging("after_process", ProcessorConfig(batch_timeout=5.0))
    (only,) = result.results
    assert (only.success, only.output, only.error_category) == (False, None, "middleware_error")
    assert "after_process was cut off 10 s after" in str(only.error)


async def test_an_answer_outlasts_a_post_processor_that_is_cut_off() -> None:
    """It is only noted."""
    result = await run_hanging("post_processor", ProcessorConfig(batch_timeout=5.0))
    (only,) = result.results
    assert only.success
    assert "post_processor was cut off 10 s after" in only.metadata["notes"][0]  # type: ignore[index]


async def test_a_hook_that_ends_in_time_is_not_cut_off() -> None:
    """After a cancellation it has its short time, and what it made of the result counts."""
    processed: list[str] = []

    async def slow(result: Any) -> None:
        await anyio.sleep(GRACE)
        processed.append(result.item_id)

    config = ProcessorConfig(batch_timeout=1.0)
    result = await run_batch(["a"], ScriptedStrategy(), config=config, post_processor=slow)
    assert processed == ["0"]
    assert result.results[0].metadata is None


async def test_a_call_of_a_pool_that_is_cancelled_ends_its_hook() -> None:
    """The caller waits for the short time, and the pool has counted the call."""

    async def hang(result: Any) -> None:
        await anyio.sleep_forever()

    async with open_pool(ScriptedStrategy(), post_processor=hang) as pool:
        with anyio.move_on_after(5.0):
            await pool.call("a")
        assert anyio.current_time() == 5.0 + GRACE
        assert pool.stats()["total"] == 1


def test_a_bound_is_the_least_of_all() -> None:
    """``hook_timeout``, or what is left of the item, but never less than *least*."""
    item = ItemRun(None, 0, 0.0, limit=30.0, deadline=20.0)  # type: ignore[arg-type]
    config = ProcessorConfig(hook_timeout=10.0)
    assert HookBound.of(config, item, 0.0).seconds == 10.0
    assert HookBound.of(config, item, 15.0).seconds == 5.0
    assert HookBound.of(config, item, 15.0, least=7.0).seconds == 7.0
    assert HookBound.of(config, item, 25.0).seconds == 0.0
    free = ItemRun(None, 0, 0.0)  # type: ignore[arg-type]
    assert HookBound.of(ProcessorConfig(hook_timeout=None), free, 0.0).seconds is None
