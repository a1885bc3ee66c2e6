"""A result tells its whole story: how each attempt ended, what it waited for, what was left."""

from __future__ import annotations

import pickle
import re
from typing import Any

import anyio
import httpx
import pytest

from batchllm.api import open_pool, run_batch, stream_batch
from batchllm.core import (
    AttemptFailure,
    BaseMiddleware,
    BatchResult,
    ProcessorConfig,
    ProviderError,
    RetryConfig,
    ServerHint,
    TokenUsage,
)
from batchllm.engine.item import ItemRun
from batchllm.llm_strategies import llm
from batchllm.testing import Answer, Hang, Raise, ScriptedStrategy

pytestmark = pytest.mark.anyio

RETRIES = ProcessorConfig(retry=RetryConfig(max_attempts=3, initial_wait=2.0, jitter=False))

USAGE: TokenUsage = {"input_tokens": 7, "output_tokens": 0, "total_tokens": 7}


def refused(seconds: float) -> ProviderError:
    """Make what a 429 that asks for a wait is raised as."""
    return ProviderError("slow down", status=429, hint=ServerHint(wait=seconds))


async def test_each_attempt_says_how_it_ended() -> None:
    """The failure of the first is not lost behind the last; the one that answered has none."""
    first = ProviderError("we are restarting", status=500)
    first._failed_token_usage = USAGE  # type: ignore[attr-defined]
    strategy = ScriptedStrategy([Raise(first), Raise(ValueError("no JSON")), Answer("x")])
    result = (await run_batch(["a"], strategy, config=RETRIES)).results[0]
    assert result.success
    assert [each.failure for each in result.timing.attempts] == [
        AttemptFailure("we are restarting", "server_error", 500, USAGE),
        AttemptFailure("ValueError: no JSON", "bad_output"),
        None,
    ]
    assert [each.backoff for each in result.timing.attempts] == [2.0, 0.0, 0.0]


async def test_over_http_it_has_the_status() -> None:
    """The server's words and its status, of each attempt."""
    replies = iter([(503, "busy"), (400, "bad prompt")])

    def answer(request: httpx.Request) -> httpx.Response:
        status, words = next(replies)
        return httpx.Response(status, json={"error": {"message": words}})

    strategy = llm(
        "openai-compatible:m",
        base_url="http://s.test/v1",
        api_key="k",
        http=httpx.MockTransport(answer),
    )
    (result,) = (await run_batch(["a"], strategy, config=RETRIES)).results
    ends = [each.failure for each in result.timing.attempts]
    assert [end.status for end in ends if end] == [503, 400]
    assert [
        word in end.error for word, end in zip(("busy", "bad prompt"), ends, strict=True) if end
    ]


async def test_an_item_that_succeeds_at_once_keeps_nothing() -> None:
    """A million results have no room for it."""
    (result,) = (await run_batch(["a"], ScriptedStrategy())).results
    assert result.attempt_failures == ()
    assert [each.failure for each in result.timing.attempts] == [None]


def test_refusals_that_say_the_same_are_kept_once() -> None:
    """Hundreds of them take the room of a pointer each."""
    item = ItemRun(None, 0, 0.0)  # type: ignore[arg-type]
    for _ in range(100):
        item.end_attempt(0, AttemptFailure("".join(["slow", " down"]), "rate_limit", 429))
    assert len({id(failure) for failure in item.failures}) == 1


async def test_a_page_of_words_is_cut() -> None:
    """The last one's exception has them all."""
    strategy = ScriptedStrategy(Raise(ValueError("x" * 10_000)))
    (result,) = (await run_batch(["a"], strategy, config=RETRIES)).results
    ends = [each.failure for each in result.timing.attempts]
    assert [len(end.error) for end in ends if end] == [500, 500, 500]


@pytest.mark.parametrize(
    ("setting", "cause"), [("cooldown", "cooldown_wait"), ("pace", "admission_wait")]
)
async def test_an_item_that_runs_out_of_time_shows_its_wait(setting: str, cause: str) -> None:
    """The time that it waited, and what for, is in its sentence and in the sums."""
    if setting == "cooldown":
        strategy = ScriptedStrategy([Raise(refused(500.0)), Answer()], per_call=True)
        config = ProcessorConfig(deadline_per_item=60.0, max_workers=1)
    else:
        strategy = ScriptedStrategy()
        config = ProcessorConfig(deadline_per_item=20.0, max_requests_per_minute=1, max_workers=1)
    result = await run_batch(["a", "b"], strategy, config=config)
    late = [each for each in result.results if not each.success]
    assert late
    for each in late:
        assert each.error_category == "timeout"
        waited = getattr(each.timing, cause)
        assert waited == pytest.approx(20.0 if setting == "pace" else 60.0, abs=0.1)
        what = "its scope to open again" if setting == "cooldown" else "a free call or its pace"
        assert f"at last it waited {waited:.1f} s for {what}" in str(each.error)
        assert f"{cause.replace('_', ' ')} " in result.summary()


@pytest.mark.parametrize("cooling", [True, False])
async def test_an_item_that_is_cut_off_while_it_waits_shows_its_wait(cooling: bool) -> None:
    """It was stopped and no call was made, but its time went somewhere."""
    steps = [Raise(refused(500.0)) if cooling else Hang(), Answer()]
    config = ProcessorConfig(batch_timeout=30.0, max_workers=1)
    items = ["a", "b"]

    class Ahead(BaseMiddleware):
        """With a middleware, items are started before a call is free for them."""

    result = await run_batch(
        items, ScriptedStrategy(steps, per_call=True), config=config, middlewares=[Ahead()]
    )
    by_category = {each.error_category: each for each in result.results}
    stopped = by_category["stopped"]
    waited = stopped.timing.cooldown_wait if cooling else stopped.timing.admission_wait
    assert waited == pytest.approx(30.0, abs=0.1)
    if not cooling:
        cut = by_category["cancelled"]
        assert (cut.attempts, cut.timing.execution) == (1, 30.0)
        assert cut.timing.attempts[0].failure == AttemptFailure(
            "cancelled while it was being called, and maybe billed", "cancelled"
        )


async def test_a_backoff_that_is_cut_off_shows() -> None:
    """As far as it got."""
    config = RETRIES.with_changes(
        batch_timeout=5.0, retry=RetryConfig(initial_wait=60.0, jitter=False), timeout_per_item=300
    )
    strategy = ScriptedStrategy([Raise(OSError("down")), Answer()])
    (result,) = (await run_batch(["a"], strategy, config=config)).results
    assert result.timing.backoff == 5.0
    assert result.timing.attempts[0].failure == AttemptFailure("OSError: down", "connection")


async def test_a_call_of_a_pool_that_is_closed_shows_its_time() -> None:
    """It is a result like any other."""
    results: list[Any] = []
    config = ProcessorConfig(drain_grace=4.0)
    async with (
        anyio.create_task_group() as tasks,
        open_pool(ScriptedStrategy(Hang()), config=config) as pool,
    ):

        async def one() -> None:
            results.append(await pool.call_result("a"))

        tasks.start_soon(one)
        await anyio.sleep(1.0)
    assert (results[0].attempts, results[0].timing.execution) == (1, 5.0)


async def test_what_was_never_read_of_a_sized_source_was_not_run() -> None:
    """It has no result, and is counted and shown; the batch's own total is that of the source."""
    config = ProcessorConfig(batch_timeout=5.0, max_workers=2)
    items = [f"p{n}" for n in range(100)]
    whole = await run_batch(items, ScriptedStrategy(), config=config)
    assert (whole.not_run, whole.never_read) == (0, 0)
    strategy = ScriptedStrategy({f"p{n}": Hang() for n in range(1, 100)})
    result = await run_batch(items, strategy, config=config)
    assert (result.succeeded, result.failed, result.not_run) == (1, 2, 97)
    assert result.total_items + result.never_read == 100
    assert re.match(r"Items +100: 1 succeeded, 2 failed, 97 not run\n", result.summary())
    assert "<BatchResult: 100 items: 1 succeeded, 2 failed, 97 not run;" in repr(result)
    again = BatchResult.from_json(result.to_json())
    assert (again.not_run, again.never_read) == (97, result.never_read)


async def test_of_an_unsized_source_nobody_knows_what_is_left() -> None:
    """Only what was accepted is counted."""
    config = ProcessorConfig(batch_timeout=5.0, max_workers=2)
    items = (f"p{n}" for n in range(100))
    result = await run_batch(items, ScriptedStrategy(Hang()), config=config)
    assert (result.never_read, result.not_run) == (0, result.tally.not_run)


async def test_while_it_runs_nothing_is_left_behind() -> None:
    """Items that have not been read yet may still be."""
    async with stream_batch(["a", "b", "c"], ScriptedStrategy(), concurrency=1) as run:
        async for _ in run:
            assert run.result.never_read == 0


async def test_the_story_leaves_the_process() -> None:
    """In a pickle and in JSON."""
    strategy = ScriptedStrategy([Raise(OSError("down")), Answer("x")])
    batch = await run_batch(["a"], strategy, config=RETRIES)
    expected = batch.results[0].timing
    assert expected.attempts[0].failure == AttemptFailure("OSError: down", "connection")
    assert pickle.loads(pickle.dumps(batch)).results[0].timing == expected
    assert BatchResult.from_json(batch.to_json()).results[0].timing == expected
