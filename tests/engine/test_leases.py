"""Overlapping runs, pools and single calls on one strategy share its preparation."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import anyio
import pytest
from attrs import define

from batchllm.api import ParallelBatchProcessor, call, open_pool, run_batch
from batchllm.core import (
    LLMCallStrategy,
    LLMWorkItem,
    PrepareError,
    ProcessorConfig,
    RetryConfig,
    RetryState,
)
from batchllm.llm_strategies import ModelStrategy
from batchllm.testing import Answer, Backend, ScriptedStrategy, virtual_run

pytestmark = pytest.mark.anyio

BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")
ONCE = ProcessorConfig(retry=RetryConfig(max_attempts=1))


class Database(LLMCallStrategy[str]):
    """Holds something open between ``prepare`` and ``cleanup``, and fails without it."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.log: list[str] = []
        self.open = False
        self.fails: list[BaseException] = []

    async def prepare(self) -> None:
        self.log.append("+")
        await anyio.sleep(self.seconds)
        if self.fails:
            raise self.fails.pop()
        self.open = True

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
        assert self.open, "it is not open yet"
        await anyio.sleep(float(prompt))
        assert self.open, "it was closed under a call"
        return prompt, None

    async def cleanup(self) -> None:
        self.open = False
        await anyio.sleep(self.seconds)
        self.log.append("-")


@pytest.mark.filterwarnings("ignore:10 single calls")
async def test_ten_calls_that_overlap() -> None:
    """They prepare once and all succeed, whichever of them ends first."""
    strategy, answers = Database(), []

    async def one(number: int) -> None:
        answers.append(await call(str(number), strategy))

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(one, number)
    assert sorted(answers) == [str(number) for number in range(10)]
    assert strategy.log == ["+", "-"]


async def test_a_short_batch_takes_nothing_from_a_long_one() -> None:
    """Nor does a pool, or one call: the last of them to end cleans up."""
    strategy = Database()
    ended: list[str] = []

    async def batch(*prompts: str) -> None:
        result = await run_batch(prompts, strategy, config=ONCE)
        assert result.succeeded == len(prompts), result.summary()
        ended.append(prompts[0])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batch, "60", "30")
        await anyio.sleep(5.0)
        await batch("1")
        async with open_pool(strategy) as pool:
            await pool.call("2")
        await call("3", strategy)
        assert strategy.log == ["+"]
    assert ended == ["1", "60"]
    assert strategy.log == ["+", "-"]


async def test_a_run_that_comes_while_it_is_cleaned_up() -> None:
    """It waits, and prepares anew."""
    strategy = Database(seconds=5.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_batch, ["1"], strategy)
        await anyio.sleep(8.0)
        assert (strategy.open, strategy.log) == (False, ["+"])
        result = await run_batch(["1"], strategy, config=ONCE)
    assert result.succeeded == 1
    assert strategy.log == ["+", "-", "+", "-"]


async def test_the_next_prepares_if_the_first_is_cancelled() -> None:
    """A preparation that the first had begun is not ready for any other."""
    strategy, answers = Database(seconds=5.0), []

    async def second() -> None:
        answers.append(await call("1", strategy))

    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(2.0):
            tasks.start_soon(second)
            await call("1", strategy)
    assert answers == ["1"]
    assert strategy.log == ["+", "+", "-"]


async def test_all_who_wait_get_the_error_and_the_next_tries_again() -> None:
    """Each with an error of its own, since each has its own partial result."""
    strategy, errors = Database(), []
    strategy.fails = [LookupError("no table")]

    async def one(number: int) -> None:
        try:
            await run_batch(["0"], strategy)
        except PrepareError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(one, number)
    assert [str(error) for error in errors] == [
        "Database.prepare() raised LookupError: no table; no item can run without it"
    ] * 3
    assert len({id(error) for error in errors}) == len({id(e.partial) for e in errors}) == 3
    assert all(isinstance(error.__cause__, LookupError) for error in errors)
    assert strategy.log == ["+", "-"]
    assert await call("0", strategy) == "0"


class Outer(LLMCallStrategy[str]):
    """A composite over one part."""

    quota_scope = None

    def __init__(self, part: LLMCallStrategy[Any]) -> None:
        self.parts = (part,)

    async def execute(self, prompt: Any, attempt: int, timeout: float, state: RetryState) -> Any:
        return await state.call(self.parts[0], prompt, attempt, timeout)


async def test_a_part_is_held_by_every_run_of_its_composite() -> None:
    """It is not cleaned up when the run ends that prepared it."""
    strategy = Database()
    outer = Outer(strategy)

    async def short() -> None:
        assert (await run_batch(["1"], outer, config=ONCE)).succeeded == 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(short)
        await anyio.sleep(0.5)
        result = await run_batch(["60"], outer, config=ONCE)
    assert result.succeeded == 1
    assert strategy.log == ["+", "-"]


async def test_an_item_waits_for_another_runs_prepare_no_longer_than_it_may() -> None:
    """As for that of its own run."""
    strategy = ScriptedStrategy(prepare=Answer(after=60.0))
    config = ProcessorConfig(deadline_per_item=5.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_batch, ["a"], strategy)
        await anyio.sleep(1.0)
        result = await run_batch(["b"], strategy, config=config)
        assert anyio.current_time() == 6.0
    assert result.results[0].error_category == "timeout"
    assert (strategy.prepared, strategy.cleaned) == (1, 1)


async def test_copies_are_strategies_of_their_own() -> None:
    """The leases of runs are no part of a strategy: not copied, not pickled, not compared."""
    original = Database()
    async with open_pool(original) as pool:
        await pool.call("0")
        twins = (copy.copy(original), copy.deepcopy(original), pickle.loads(pickle.dumps(original)))
        for twin in twins:
            twin.log, twin.open = [], False
            assert await call("0", twin) == "0"
            assert twin.log == ["+", "-"]
        assert original.identity() == Database().identity()
    assert original.log == ["+", "-"]


async def test_frozen_attrs_strategies_are_shared_too() -> None:
    """The lease stands beside their fields."""
    counts = [0, 0]

    @define
    class Frozen(LLMCallStrategy[str]):
        async def prepare(self) -> None:
            counts[0] += 1
            await anyio.sleep(1.0)

        async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
            return prompt, None

        async def cleanup(self) -> None:
            counts[1] += 1

    strategy = Frozen()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(call, "x", strategy)
    assert counts == [1, 1]
    assert strategy == Frozen()


class Elsewhere:
    """Holds a strategy ready on an event loop in another thread."""

    def __init__(self, strategy: Any, backend: Backend) -> None:
        self._strategy, self._backend = strategy, backend
        self._ready, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._ready.wait(60)

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._thread.join()

    def _run(self) -> None:
        async def hold() -> None:
            async with open_pool(self._strategy) as pool:
                await pool.call("0")
                self._ready.set()
                self._leave.wait(60)

        virtual_run(hold, backend=self._backend)


@pytest.mark.parametrize("there", BACKENDS)
async def test_a_users_strategy_is_refused_on_a_second_loop(there: Backend) -> None:
    """By its name and at once, before anything is sent; afterwards it may be used."""
    strategy = Database(seconds=0.0)
    with Elsewhere(strategy, there), pytest.raises(PrepareError) as raised:
        await run_batch(["0", "0"], strategy)
    assert str(raised.value) == (
        "this Database is in use on another event loop, and what its prepare() and cleanup() do "
        "may serve one loop at a time only; make a Database for each event loop, or set "
        "Database.per_loop = True if it keeps what it opens per event loop"
    )
    assert strategy.log == ["+", "-"]
    assert (await run_batch(["0"], strategy)).succeeded == 1


class Model:
    """A user's model, managed or not."""

    async def generate(self, prompt: Any, **_: Any) -> Any:
        raise AssertionError("not called")


class Managed(Model):
    async def prepare(self) -> None: ...

    async def cleanup(self) -> None: ...


def test_which_models_serve_several_loops() -> None:
    """A user's managed one says so itself; one that opens nothing always does."""
    assert ModelStrategy(Model()).per_loop
    assert not ModelStrategy(Managed()).per_loop
    managed = Managed()
    managed.per_loop = True  # type: ignore[attr-defined]
    assert ModelStrategy(managed).per_loop


@pytest.mark.parametrize("strategy", [ScriptedStrategy(), Outer(ScriptedStrategy())])
async def test_others_serve_several_loops(strategy: Any) -> None:
    """Those that say so, and those that have nothing to prepare: once for each loop."""
    with Elsewhere(strategy, "asyncio"):
        assert (await run_batch(["0"], strategy)).succeeded == 1


async def test_a_loop_that_has_ended_holds_nothing() -> None:
    """A processor that was never cleaned up, in a thread that is gone, blocks no other."""
    strategy = Database(seconds=0.0)

    async def forget() -> None:
        processor = ParallelBatchProcessor[Any, Any, Any](strategy=strategy)
        await processor.add_work(LLMWorkItem("a", prompt="0"))
        await processor.process_all()
        forgotten.append(processor)

    forgotten: list[Any] = []
    thread = threading.Thread(target=virtual_run, args=(forget,))
    thread.start()
    thread.join()
    assert (await run_batch(["0"], strategy)).succeeded == 1
    await forgotten[0].cleanup()
