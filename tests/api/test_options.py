"""Every face checks its arguments, and says which one is wrong and what to give."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from batchllm.api import (
    ParallelBatchProcessor,
    call,
    call_result,
    open_pool,
    run_batch,
    stream_batch,
)
from batchllm.core import BaseMiddleware, BaseObserver, ConfigError, ErrorClassifier, StrategyError
from batchllm.gate import Gate
from batchllm.testing import ScriptedStrategy

pytestmark = pytest.mark.anyio


async def collect(strategy: Any, **options: Any) -> None:
    await run_batch(["a"], strategy, **options)


async def stream(strategy: Any, **options: Any) -> None:
    async with stream_batch(["a"], strategy, **options):
        pass


async def pool(strategy: Any, **options: Any) -> None:
    async with open_pool(strategy, **options):
        pass


async def processor(strategy: Any, **options: Any) -> None:
    ParallelBatchProcessor(strategy=strategy, **options)


async def one(strategy: Any, **options: Any) -> None:
    await call("a", strategy, **options)


async def one_result(strategy: Any, **options: Any) -> None:
    await call_result("a", strategy, **options)


Face = Callable[..., Awaitable[None]]
FULL = (collect, stream, pool, processor)


@pytest.mark.parametrize("face", FULL)
@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("middlewares", BaseMiddleware(), "is a BaseMiddleware; give a list of BaseMiddleware"),
        ("middlewares", [BaseMiddleware], r"\[0\] is the class .*an instance, not the class"),
        ("middlewares", [BaseMiddleware(), 5], r"\[1\] is an int, which has no before_process"),
        ("middlewares", BaseMiddleware, "is the class BaseMiddleware"),
        ("observers", [BaseMiddleware()], r"\[0\] is a BaseMiddleware, which has no on_event"),
        ("observers", [BaseObserver], r"\[0\] is the class BaseObserver"),
        ("post_processor", "text", "is a str; give a function"),
        ("error_classifier", 5, r"is an int, which has no classify\(\)"),
        ("error_classifier", ErrorClassifier, "is the class .*an instance, not the class"),
        ("gate", 5, "is an int; give a list of Gate"),
        ("gate", [5], "is an int; give a Gate"),
        ("gate", [Gate], "is the class Gate; give .*an instance, not the class"),
    ],
)
async def test_a_wrong_argument_is_named(face: Face, name: str, value: Any, told: str) -> None:
    """Before anything is prepared or sent."""
    strategy = ScriptedStrategy()
    with pytest.raises(ConfigError, match=f"^{name}.*{told}"):
        await face(strategy, **{name: value})
    assert (strategy.prepared, strategy.calls) == (0, [])


@pytest.mark.parametrize("face", [*FULL, one, one_result])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"max_workers": 3}, r"is a dict; give a ProcessorConfig.*config_from_dict\(\)"),
        (Gate, "is the class Gate; give .*not the class"),
        (0, "is an int"),
    ],
)
async def test_settings_are_settings(face: Face, value: Any, told: str) -> None:
    """A dict is not taken for them, nor is nothing at all."""
    with pytest.raises(ConfigError, match=f"^config {told}"):
        await face(ScriptedStrategy(), config=value)


@pytest.mark.parametrize("face", [collect, stream, pool])
@pytest.mark.parametrize("value", [0, True, "many", 2.5])
async def test_concurrency_is_a_number(face: Face, value: Any) -> None:
    """It is told by its own name, and not by the field behind it."""
    with pytest.raises(ConfigError, match=r"^concurrency is .*a whole number of at least 1"):
        await face(ScriptedStrategy(), concurrency=value)


@pytest.mark.parametrize("face", [*FULL, one, one_result])
async def test_a_class_is_no_strategy(face: Face) -> None:
    """The message asks for an instance."""
    with pytest.raises(StrategyError, match="class ScriptedStrategy; give an instance"):
        await face(ScriptedStrategy)


async def test_what_single_faces_take() -> None:
    """``progress_callback``, ``into`` and ``max_waiting``."""
    wrong: Any = "text"
    with pytest.raises(ConfigError, match=r"^progress_callback is a str; give a function"):
        await run_batch(["a"], ScriptedStrategy(), progress_callback=wrong)
    with pytest.raises(ConfigError, match=r"^into is a str; give a BatchRun\(\)"):
        await run_batch(["a"], ScriptedStrategy(), into=wrong)
    with pytest.raises(ConfigError, match=r"^max_waiting is 'text'; give a whole number"):
        await pool(ScriptedStrategy(), max_waiting=wrong)
    with pytest.raises(StrategyError, match="the strategy is"):
        await pool(None)


async def test_steps_need_no_base_class() -> None:
    """An object with the methods is a middleware."""

    class Steps:
        def before_process(self, item: Any) -> None:
            item.prompt = "changed"

        def after_process(self, result: Any) -> None: ...
        def on_retry(self, item: Any, attempt: int, error: Exception) -> None: ...
        def on_error(self, item: Any, error: Exception) -> None: ...

    steps: Any = Steps()
    strategy = ScriptedStrategy()
    await run_batch(["a"], strategy, middlewares=(steps,), gate=[Gate()])
    assert [made.prompt for made in strategy.calls] == ["changed"]
