"""Sync post-processors and ``in_thread``: real threads beside a real event loop."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from batchllm import (
    BaseObserver,
    BatchRun,
    PostProcessor,
    ProcessorConfig,
    in_thread,
    run_batch,
    run_batch_sync,
)
from tests.e2e.patience import PATIENCE, until

pytestmark = pytest.mark.anyio


async def answer(prompt: str) -> str:
    return prompt.upper()


class Recorder:
    """A post-processor that notes where it runs, and how many of it at once."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.threads: set[int] = set()
        self.most = self._inside = 0

    def __call__(self, result: Any) -> None:
        self._inside += 1
        self.most = max(self.most, self._inside)
        self.threads.add(threading.get_ident())
        self.seen.append(result.item_id)
        self._inside -= 1


async def test_a_sync_post_processor_has_a_thread_of_its_own() -> None:
    """One call at a time, in the order in which the results came, and none on the loop's thread."""
    recorder = Recorder()
    result = await run_batch(
        [str(n) for n in range(50)], answer, concurrency=50, post_processor=recorder
    )
    assert recorder.most == 1
    assert threading.get_ident() not in recorder.threads
    assert recorder.seen == [each.item_id for each in result.results]
    assert result.warnings == ()


async def test_the_event_loop_goes_on_while_it_works() -> None:
    """It may even wait for what the loop does next."""
    moved_on = threading.Event()
    waited: list[bool] = []

    async def move_on(prompt: str) -> str:
        if prompt == "second":
            moved_on.set()
        return prompt

    def wait(result: Any) -> None:
        waited.append(moved_on.wait(PATIENCE))

    await run_batch(["first", "second"], move_on, concurrency=1, post_processor=wait)
    assert waited == [True, True]


async def test_what_it_raises_is_noted() -> None:
    """As of an async one."""

    def broken(result: Any) -> None:
        raise LookupError("no table")

    result = await run_batch(["a"], answer, post_processor=broken)
    assert result.results[0].metadata == {"notes": ("post_processor raised LookupError: no table",)}


async def test_one_that_hangs_ends_the_waiting_and_not_the_batch() -> None:
    """It costs its time twice, not once for each result; each result says what became of it."""
    let_go = threading.Event()
    calls: list[str] = []

    def hang(result: Any) -> None:
        calls.append(result.item_id)
        let_go.wait(PATIENCE)

    try:
        config = ProcessorConfig(hook_timeout=0.2, max_workers=10)
        with anyio.fail_after(PATIENCE):
            result = await run_batch(
                [str(n) for n in range(40)], answer, config=config, post_processor=hang
            )
    finally:
        let_go.set()
    assert (result.succeeded, len(calls)) == (40, 1)
    notes = [each.metadata["notes"][0] for each in result.results]  # type: ignore[index]
    late = "took longer than hook_timeout (0.2 s) and is not waited for, while its thread goes on"
    assert sum(late in note for note in notes) == 1
    assert sum("not called: an earlier call is over its time" in note for note in notes) == 39


async def test_one_that_comes_back_late_is_waited_for() -> None:
    """The next call waits for it, so that there are never two at once."""
    late, recorder, run = threading.Event(), Recorder(), BatchRun[Any]()
    begun: list[str] = []

    def slow(result: Any) -> None:
        begun.append(result.item_id)
        if len(begun) == 1:
            late.wait(PATIENCE)
        recorder(result)

    async def let_it_end() -> None:
        await until(lambda: run.result.total_items > 0)
        late.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(let_it_end)
        config = ProcessorConfig(hook_timeout=2.0)
        await run_batch(["a", "b"], answer, config=config, post_processor=slow, into=run)
    assert recorder.most == 1
    first, second = (run.result.by_id()[name] for name in begun)
    assert "took longer" in first.metadata["notes"][0]  # type: ignore[index]
    assert (second.metadata, recorder.seen) == (None, begun)


async def test_inline_keeps_it_on_the_loop() -> None:
    """For one that takes no time, or needs the loop's thread."""
    recorder = Recorder()
    await run_batch(["a"], answer, post_processor=PostProcessor(recorder, inline=True))
    assert recorder.threads == {threading.get_ident()}


async def test_in_thread_moves_any_hook() -> None:
    """A progress callback, and an observer's method."""
    here, threads = threading.get_ident(), []

    class Table(BaseObserver):
        name = "table"

        @in_thread
        def on_event(self, event: Any, data: dict[str, Any]) -> None:
            assert self.name == "table"
            threads.append(threading.get_ident())

    def progress(done: int, total: int, item: str) -> None:
        threads.append(threading.get_ident())

    result = await run_batch(
        ["a", "b"], answer, observers=[Table()], progress_callback=in_thread(progress)
    )
    assert result.warnings == ()
    assert len(threads) == 8
    assert here not in threads


def test_a_sync_batch_with_a_sync_post_processor() -> None:
    """From a script: the batch's loop has a thread, and the post-processor another."""
    recorder = Recorder()
    run_batch_sync(["a", "b"], answer, post_processor=recorder)
    assert sorted(recorder.seen) == ["0", "1"]
