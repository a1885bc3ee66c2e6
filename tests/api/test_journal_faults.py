"""Faults of providers and of users' code in a batch with a journal: rows 12 to 16, 44, 46, 49."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

import batchllm.journal.opening
from batchllm import LLMCallStrategy, ProcessorConfig, RetryConfig, run_batch, stream_batch
from batchllm.core import (
    BaseMiddleware,
    BatchResult,
    Category,
    EndCause,
    HedgeConfig,
    JournalError,
    LLMWorkItem,
    WorkItemResult,
)
from batchllm.engine import PostProcessor
from batchllm.journal import Journal, Store, open_inline_worker
from batchllm.llm_strategies import llm
from batchllm.simulator import Simulator, SimulatorTransport
from tests.journal.kit import Faults

pytestmark = pytest.mark.anyio

CONFIG = ProcessorConfig(max_workers=2, retry=RetryConfig(max_attempts=3, jitter=False))
KEY = "sk-canary-0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def model(simulator: Simulator, **more: Any) -> Any:
    return llm(
        "openai-compatible:m",
        base_url="http://api.test/v1",
        api_key=KEY,
        http=SimulatorTransport(simulator),
        **more,
    )


async def run(path: Path, items: Any, strategy: Any, **more: Any) -> BatchResult[Any, Any]:
    more.setdefault("config", CONFIG)
    journal = Journal(path, worker=open_inline_worker)
    return await run_batch(items, strategy, journal=journal, **more)


def saved(path: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    """The state of each item on the disk, with what was written of it."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT key, state, payload FROM items").fetchall()
    return {key[1:]: (state, json.loads(payload)) for key, state, payload in rows}


def failed_calls(path: Path) -> Counter[str]:
    with closing(sqlite3.connect(path)) as db:
        return Counter(c for (c,) in db.execute("SELECT category FROM calls"))


@pytest.mark.parametrize("fault", ["500", "502-html", "504"])
async def test_a_server_that_fails_is_tried_again_and_the_journal_has_each_call(
    path: Path, fault: str
) -> None:
    """Twice in vain, then an answer; a proxy's page is no reply of the provider's."""
    simulator = Simulator("instant")
    result = await run(path, [("a", f"[[fault:{fault}*2]] Hello.")], model(simulator))
    (one,) = result.results
    assert (one.success, one.attempts, len(simulator.log)) == (True, 3, 3)
    (category,) = failed_calls(path)
    assert failed_calls(path)[category] == 2
    (_, payload) = saved(path)["a"]
    assert [failure and failure[1] for failure in payload["failures"]] == [category, category, None]
    again = await run(path, [("a", f"[[fault:{fault}*2]] Hello.")], model(simulator))
    assert again.results[0].attempt_failures == one.attempt_failures
    assert len(simulator.log) == 3


async def test_a_key_that_is_revoked_stops_the_run_and_the_same_call_goes_on(path: Path) -> None:
    """Answers stay; items that met the key run again unasked, once it is mended."""
    simulator = Simulator("instant")
    revoked = [(f"n{n}", f"[[fault:401]] {n}") for n in range(20)]
    first = await run(path, [("good", "Hello."), *revoked], model(simulator))
    assert first.termination.cause is EndCause.FAIL_FAST
    assert 3 <= len(simulator.log) - 1 <= 3 + CONFIG.max_workers
    states = {name: state for name, (state, _) in saved(path).items()}
    assert states.pop("good") == 1
    assert set(states.values()) == {3}
    before = len(simulator.log)
    mended = [(f"n{n}", f"Say {n}") for n in range(20)]
    again = await run(path, [("good", "Hello."), *mended], model(simulator))
    assert again.succeeded == 21
    assert len(simulator.log) - before == 20


@pytest.mark.parametrize("fault", ["413", "context-length"])
async def test_a_prompt_that_is_too_long_fails_once_and_alone(path: Path, fault: str) -> None:
    """It is not asked again, neither now nor when the batch goes on."""
    simulator = Simulator("instant")
    items = [("long", f"[[fault:{fault}]] x"), *((f"n{n}", f"Say {n}") for n in range(5))]
    for _ in range(2):
        result = await run(path, items, model(simulator))
        (failed,) = result.failures
        assert (failed.item_id, failed.attempts) == ("long", 1)
        assert result.succeeded == 5
    assert len(simulator.log) == 6


async def test_a_model_that_is_not_there_stops_the_run_before_it_spends(path: Path) -> None:
    """It costs no token, and the right name goes on in the same journal."""
    simulator = Simulator("instant")
    wrong = [(f"n{n}", f"[[fault:404]] {n}") for n in range(20)]
    first = await run(path, wrong, model(simulator))
    assert first.termination.cause is EndCause.FAIL_FAST
    assert "model" in first.termination.reason
    assert sum(entry.output_tokens for entry in simulator.log) == 0
    assert len(simulator.log) <= 3 + 2 * CONFIG.max_workers
    right = [(f"n{n}", f"Say {n}") for n in range(20)]
    assert (await run(path, right, model(simulator, temperature=0.5))).succeeded == 20


async def test_an_endpoint_that_cannot_be_reached_ends_the_run_with_the_cause(path: Path) -> None:
    """It is tried again with pauses, then the run ends; nothing is written down as failed."""
    simulator = Simulator("instant")
    config = ProcessorConfig(max_workers=30, outage_after=60.0)
    items = [(f"n{n}", f"[[fault:connect]] {n}") for n in range(100)]
    begun = anyio.current_time()
    first = await run(path, items, model(simulator), config=config)
    assert first.termination.cause is EndCause.ENDPOINT_DOWN
    assert 60.0 <= anyio.current_time() - begun < 300.0
    assert not first.succeeded
    assert not saved(path)
    there = [(f"n{n}", f"Say {n}") for n in range(100)]
    assert (await run(path, there, model(simulator))).succeeded == 100


class Own(Exception):
    """An error of the user's own code, with a secret in it."""


async def test_an_error_of_the_users_code_costs_its_item_alone(path: Path) -> None:
    """In a middleware, in a post-processor and in a strategy; the rest has its answers."""

    class Breaks(BaseMiddleware):
        async def before_process(self, item: LLMWorkItem[Any, Any, Any]) -> Any:
            if item.item_id == "n1":
                raise Own("in the middleware")
            return item

    class Answers(LLMCallStrategy[str]):
        async def execute(self, prompt: Any, attempt: int, timeout: float, *args: Any) -> Any:
            if prompt == "p2":
                raise Own("in the strategy")
            return f"answer to {prompt}", None

    def after(result: WorkItemResult[Any, Any]) -> None:
        if result.item_id == "n3":
            raise Own("in the post-processor")

    items = [(f"n{n}", f"p{n}") for n in range(5)]
    result = await run(path, items, Answers(), middlewares=[Breaks()], post_processor=after)
    by_id = result.by_id()
    assert [by_id[f"n{n}"].success for n in range(5)] == [True, False, False, True, True]
    assert "in the middleware" in str(by_id["n1"].error)
    assert "in the strategy" in str(by_id["n2"].error)
    assert "in the post-processor" in str(by_id["n3"].metadata)
    assert {name: state for name, (state, _) in saved(path).items()} == {
        "n0": 1,
        "n1": 2,
        "n2": 2,
        "n3": 1,
        "n4": 1,
    }


async def test_a_slow_reader_slows_the_calls_and_loses_nothing(path: Path) -> None:
    """One result a minute: no call is timed out by it, and no more is held than the window."""
    simulator = Simulator("instant")
    taken, most = 0, 0
    items = [(f"n{n}", f"Say {n}") for n in range(40)]
    journal = Journal(path, worker=open_inline_worker)
    config = ProcessorConfig(max_workers=2, attempt_timeout=30.0, timeout_per_item=30.0)
    async with stream_batch(items, model(simulator), config=config, journal=journal) as batch:
        async for result in batch:
            assert result.success
            assert result.item_id in saved(path)
            taken += 1
            most = max(most, len(simulator.log) - taken)
            await anyio.sleep(60.0)
    assert taken == 40
    assert most <= config.window_size


class Twins(LLMCallStrategy[str]):
    """Two copies of the last call answer in the same turn of the event loop."""

    def __init__(self) -> None:
        self.last: list[anyio.Event] = []
        self.alone = False

    def identity(self) -> dict[str, Any]:
        return {"class": "Twins"}

    async def execute(self, prompt: Any, attempt: int, timeout: float, *args: Any) -> Any:
        usage = {"input_tokens": 1, "output_tokens": 1}
        if prompt != "p39":
            await anyio.sleep(1.0)
            return prompt, usage
        self.last.append(anyio.Event())
        if len(self.last) == 2 or self.alone:
            for event in self.last:
                event.set()
        await self.last[-1].wait()
        return f"copy of {prompt}", usage


HEDGED = ProcessorConfig(max_workers=10, hedge=HedgeConfig(min_samples=20, max_share=0.5))


async def test_two_copies_that_answer_at_once_are_one_result(path: Path) -> None:
    """One row, one delivery, and the bill of both calls."""
    strategy = Twins()
    result = await run(path, [(f"n{n}", f"p{n}") for n in range(40)], strategy, config=HEDGED)
    assert len(strategy.last) == 2
    assert result.succeeded == len(result.results) == len(saved(path)) == 40
    assert result.by_id()["n39"].output == "copy of p39"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM calls").fetchone()[0] <= 1


@pytest.mark.parametrize("problem", ["SQLITE_IOERR_WRITE", "SQLITE_FULL"])
@pytest.mark.parametrize("hooked", [False, True])
async def test_a_winner_whose_commit_fails_is_delivered_by_no_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, hooked: bool, problem: str
) -> None:
    """Neither it nor its second copy; the error has it, and the same call goes on.

    A result that a hook waits for is committed on another way than one that has none.
    """
    faults = Faults(name=problem)
    seen: list[str] = []
    save = PostProcessor(lambda one: seen.append(one.item_id), inline=True) if hooked else None

    def store(file: Path, durability: Any, **given: Any) -> Store:
        return Store(file, durability, faults.connect, **given)

    monkeypatch.setattr(batchllm.journal.opening, "Store", store)
    items = [(f"n{n}", f"p{n}") for n in range(40)]

    def is_last(text: str) -> bool:
        return "INSERT INTO items" in text and "n38" in saved(path)

    faults.counts, faults.at = is_last, 1
    with pytest.raises(JournalError) as caught:
        await run(path, items, Twins(), config=HEDGED, post_processor=save)
    unsaved = [(one.item_id, one.output) for one in caught.value.unsaved]
    assert unsaved == [("n39", "copy of p39")]
    assert sorted(seen) == (sorted(f"n{n}" for n in range(39)) if hooked else [])
    assert "n39" not in {one.item_id for one in caught.value.partial.results}
    faults.at = 0
    alone = Twins()
    alone.alone = True
    again = await run(path, items, alone, config=HEDGED)
    assert again.succeeded == 40
    assert Category.CANCELLED not in {one.error_category for one in again.results}
