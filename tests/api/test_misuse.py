"""Entry points that are used as those of other libraries are say how they are meant."""

from __future__ import annotations

from typing import Any

import pytest

from batchllm import (
    Gate,
    HttpTransport,
    Limit,
    ParallelBatchProcessor,
    call,
    call_result,
    open_pool,
    run_batch,
    run_batch_sync,
    serve_pool,
    stream_batch,
    stream_batch_sync,
)
from batchllm.core import UnknownArgumentError
from batchllm.testing import ScriptedStrategy

pytestmark = pytest.mark.anyio

MOST = "config=ProcessorConfig(max_workers=…)"
ATTEMPTS = "config=ProcessorConfig(retry=RetryConfig(max_attempts=…))"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("max_workers", f"did you mean concurrency=… or {MOST}?"),
        ("max_retries", f"did you mean {ATTEMPTS}, which counts the first attempt too?"),
        ("middleware", "did you mean middlewares=…?"),
        ("observer", "did you mean observers=…?"),
        ("cooldown_seconds", "config=ProcessorConfig(rate_limit=RateLimitConfig(cooldown_sec"),
        ("prompts", "did you mean items=…?"),
        ("orderd", "config=ProcessorConfig(reorder_window=…)"),
        ("zzzzzz", "it has items, strategy, config"),
    ],
)
async def test_run_batch_says_where_a_setting_lives(name: str, message: str) -> None:
    """Nothing is sent before."""
    strategy = ScriptedStrategy()
    with pytest.raises(UnknownArgumentError) as caught:
        await run_batch(["a"], strategy, **{name: 3})
    assert str(caught.value).startswith(f"run_batch() has no argument {name}; ")
    assert message in str(caught.value)
    assert strategy.calls == []


async def streamed(**options: Any) -> None:
    async with stream_batch(["a"], ScriptedStrategy(), **options):
        raise AssertionError


async def pooled(**options: Any) -> None:
    async with open_pool(ScriptedStrategy(), **options):
        raise AssertionError


async def served(**options: Any) -> None:
    await serve_pool(ScriptedStrategy(), **options)


async def called(**options: Any) -> None:
    await call("a", ScriptedStrategy(), **options)


async def called_for_a_result(**options: Any) -> None:
    await call_result("a", ScriptedStrategy(), **options)


async def processed(**options: Any) -> None:
    ParallelBatchProcessor(**options)


@pytest.mark.parametrize(
    "enter", [streamed, pooled, served, called, called_for_a_result, processed]
)
async def test_every_entry_point_does(enter: Any) -> None:
    """One table of settings stands behind each."""
    with pytest.raises(UnknownArgumentError, match=r"did you mean .*max_workers=…"):
        await enter(max_workers=3)
    with pytest.raises(UnknownArgumentError, match=r"did you mean config=ProcessorConfig\(retry="):
        await enter(max_retries=3)


def test_those_that_are_not_async_do() -> None:
    """The error passes through the thread of the loop."""
    with pytest.raises(UnknownArgumentError, match="did you mean concurrency"):
        run_batch_sync(["a"], ScriptedStrategy(), max_workers=3)
    with (
        pytest.raises(UnknownArgumentError, match="did you mean concurrency"),
        stream_batch_sync(["a"], ScriptedStrategy(), max_workers=3),
    ):
        raise AssertionError
    with pytest.raises(UnknownArgumentError, match="did you mean requests_per_minute"):
        Gate(rpm=60)  # type: ignore[call-arg]
    with pytest.raises(UnknownArgumentError, match="did you mean per=…"):
        Limit("requests", 60, perr=60.0)  # type: ignore[call-arg]
    with pytest.raises(UnknownArgumentError, match="did you mean verify=…"):
        HttpTransport(verifi=False)  # type: ignore[call-arg]


BLOCKS = [
    (lambda: stream_batch(["a"], ScriptedStrategy()), "async with stream_batch(…) as run:"),
    (lambda: open_pool(ScriptedStrategy()), "async with open_pool(…) as pool:"),
    (
        lambda: stream_batch_sync(["a"], ScriptedStrategy()),
        "with stream_batch_sync(…) as results:",
    ),
]


@pytest.mark.parametrize(("make", "usage"), BLOCKS)
async def test_a_block_that_is_not_entered_says_how_it_is(make: Any, usage: str) -> None:
    """By `for`, `async for`, `await`, `next` and the wrong kind of `with`."""

    async def iterate() -> None:
        async for _ in make():
            raise AssertionError

    async def iterate_at_once() -> None:
        for _ in make():
            raise AssertionError

    async def wait() -> None:
        await make()

    async def take() -> None:
        next(make())

    async def take_async() -> None:
        await anext(make())

    async def enter_the_other_way() -> None:
        if usage.startswith("async"):
            with make():
                raise AssertionError
        else:
            async with make():
                raise AssertionError

    for misuse in (iterate, iterate_at_once, wait, take, take_async, enter_the_other_way):
        with pytest.raises(TypeError) as caught:
            await misuse()
        assert usage in str(caught.value), misuse.__name__
