"""The small parts: ids, streams of results, the window, the state machine of an ending."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import CallCost, EndCause, Outcome, Termination, WorkItemResult
from batchllm.engine import CANCEL, DRAIN, Ending, OrderedResultStream, Phase, ResultStream
from batchllm.engine.idset import IdSet
from batchllm.engine.waiting import Window
from batchllm.gate import Gate

pytestmark = pytest.mark.anyio

Result = WorkItemResult[None, None]


def result(index: int) -> Result:
    return WorkItemResult(f"n{index}", True, submission_index=index)


@given(st.lists(st.text(max_size=3)))
def test_ids(names: list[str]) -> None:
    """Just as a set would, it says which came before."""
    ids, seen = IdSet(), set[str]()
    for name in names:
        assert ids.add(name) is (name not in seen)
        seen.add(name)


def test_ids_in_number() -> None:
    """A hundred thousand are told apart, in a dozen bytes each."""
    ids = IdSet()
    assert all(ids.add(f"item {i}") for i in range(100_000))
    assert not any(ids.add(f"item {i}") for i in range(0, 100_000, 1_000))
    stored = sum(len(shard) * shard.itemsize for shard in ids._shards.values())
    assert stored == 800_000


async def test_results_in_order_of_completion() -> None:
    """First finished, first read; after the last comes ``None``, for every reader."""
    stream = ResultStream()
    for index in (2, 0, 1):
        stream.put(result(index))
    stream.close()
    assert [r.submission_index for r in stream.unread()] == [2, 0, 1]
    read = [await stream.get() for _ in range(5)]
    assert [r and r.submission_index for r in read] == [2, 0, 1, None, None]
    stream.discard()


async def test_results_for_several_readers() -> None:
    """Each result goes to one of them, and all of them end."""
    stream = ResultStream()
    read: list[int] = []

    async def reader() -> None:
        while (got := await stream.get()) is not None:
            read.append(got.submission_index)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(reader)
        for index in range(20):
            stream.put(result(index))
            if index % 3 == 0:
                await anyio.sleep(0.1)
        stream.close()
    assert sorted(read) == list(range(20))
    stream.discard()


async def test_a_cancelled_reader_loses_nothing() -> None:
    """A result is either returned or still there."""
    stream = ResultStream()
    with anyio.CancelScope() as scope:
        scope.cancel()
        stream.put(result(0))
        await stream.get()
    assert scope.cancelled_caught
    assert len(stream.unread()) == 1
    stream.discard()
    assert len(stream.unread()) == 1


@given(st.permutations(range(12)), st.integers(1, 12), st.integers(0, 12))
def test_results_in_input_order(order: list[int], limit: int, finished: int) -> None:
    """It yields in input order, closes over gaps, and holds back no more than its limit."""

    async def main() -> None:
        stream = OrderedResultStream(limit)
        held: list[int] = []
        done = order[:finished]
        for index in done:
            stream.put(result(index))
        missing = min(set(range(13)) - set(done))
        assert [r.submission_index for r in stream.unread()] == sorted(done)
        assert stream.has_room(limit - 1)
        assert not stream.has_room(limit)
        for index in range(missing):
            got = await stream.get()
            assert got is not None
            held.append(got.submission_index)
            assert stream.has_room(limit + index)
            assert not stream.has_room(limit + index + 1)
        stream.close()
        while (got := await stream.get()) is not None:
            held.append(got.submission_index)
        assert held == sorted(done)
        stream.discard()

    anyio.run(main)


async def test_window() -> None:
    """Sleepers are outside, in a number that is bounded as well."""
    window = Window(2, max_sleeping=1)
    assert window.has_room()
    window.taken = 2
    assert not window.has_room()
    with window.asleep():
        assert not window.has_room(), "as many sleep as may"
    window = Window(2, max_sleeping=2)
    window.taken = 2
    with window.asleep():
        assert window.has_room()
    assert not window.has_room()
    gate = Gate(seed=1)
    with window.waiting_at(gate):
        assert not window.has_room(), "it waits for its turn, inside"
        permit = gate.admit_nowait(CallCost())
        assert permit is not None
        permit.report(Outcome.THROTTLED, anyio.current_time())
        assert window.has_room(), "it waits for the end of a pause, outside"
        with window.waiting_at(gate):
            assert not window.has_room()
    window.release()
    assert window.has_room()
    window.resize(1)
    assert not window.has_room()


async def test_window_wakes_the_feed() -> None:
    """A leaving, a falling asleep and a change of size wake the feed, which waits for a change."""
    window = Window(2, max_sleeping=9)
    heard = 0

    async def listen() -> None:
        nonlocal heard
        for _ in range(3):
            await window.changed()
            heard += 1

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        for change in (window.release, lambda: window.asleep().__enter__(), lambda: None):
            await anyio.sleep(1.0)
            change()
        window.resize(7)
    assert heard == 3


def test_ending_only_moves_on() -> None:
    """Drain, cancel, over: never back, and the first reason stays."""
    phases: list[Phase] = []
    ending = Ending()
    first = Termination(EndCause.STOPPED, "first")
    second = Termination(EndCause.STOPPED, "second")
    assert ending.describe().cause is EndCause.RUNNING
    phases.append(ending.phase)
    assert ending.request(DRAIN, first)
    assert not ending.request(DRAIN, second)
    phases.append(ending.phase)
    assert ending.stopping
    assert not ending.cancelled_by_us
    assert ending.request(CANCEL, second)
    assert ending.cancelled_by_us
    assert not ending.request(DRAIN, second)
    phases.append(ending.phase)
    assert ending.close(second) is first
    assert not ending.request(CANCEL, second)
    phases.append(ending.phase)
    assert phases == [Phase.RUNNING, Phase.DRAINING, Phase.CANCELLING, Phase.OVER]


@pytest.mark.parametrize("last", [Phase.DRAINING, Phase.CANCELLING, Phase.OVER])
async def test_blocks_end_with_their_phase(last: Phase) -> None:
    """A phase ends what must not go on in it or after it; the end leaves calls to others."""
    ending, ended = Ending(), list[Phase]()

    async def hold(phase: Phase) -> None:
        with ending.until(phase):
            await anyio.sleep_forever()
        ended.append(phase)

    async with anyio.create_task_group() as group:
        for phase in (Phase.DRAINING, Phase.CANCELLING, Phase.OVER):
            group.start_soon(hold, phase)
        await anyio.sleep(1)
        if last is Phase.OVER:
            ending.close()
        else:
            ending.request(DRAIN if last is Phase.DRAINING else CANCEL, Termination())
        await anyio.sleep(1)
        expected = {
            Phase.DRAINING: {Phase.DRAINING},
            Phase.CANCELLING: {Phase.DRAINING, Phase.CANCELLING},
            Phase.OVER: {Phase.OVER},
        }
        assert set(ended) == expected[last]
        await hold(last)  # a block that begins too late ends at once
        group.cancel_scope.cancel()
    assert not ending._bounded


async def test_a_block_ends_with_its_deadline() -> None:
    """The deadline is the caller's; the phase only comes first or does not."""
    ending = Ending()
    with ending.until(Phase.DRAINING, anyio.current_time() + 3) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert not ending.stopping


async def test_a_reader_that_is_cancelled_natively_gives_its_chunk_back() -> None:
    """A result given to a reader that is cancelled in the same turn goes to the next one."""
    if anyio.get_cancelled_exc_class().__module__.startswith("trio"):
        pytest.skip("Trio has no native cancellation")
    import asyncio

    stream = ResultStream()
    reader = asyncio.create_task(stream.get())
    await anyio.sleep(1)
    stream.put(result(0))
    reader.cancel()
    stream.put(result(1))
    await asyncio.wait([reader])
    assert reader.cancelled()
    assert [r.submission_index for r in stream.unread()] == [0, 1]
    read = [await stream.get() for _ in range(2)]
    assert [r and r.submission_index for r in read] == [0, 1]
    stream.discard()


async def test_a_chunk_that_was_given_back_is_read_once() -> None:
    """Another reader, to whom it was handed, finds it gone, and reads it when it comes again."""
    stream = ResultStream()
    read: list[int] = []

    async def reader() -> None:
        while (got := await stream.get()) is not None:
            read.append(got.submission_index)

    async with anyio.create_task_group() as group:
        group.start_soon(reader)
        await anyio.sleep(1)
        stream.put(result(0))
        stream._give_back()
        stream.put(result(1))
        await anyio.sleep(1)
        stream.put(result(2))
        stream.close()
    assert read == [0, 1, 2]
    stream.discard()


def test_ending_keeps_its_first_error() -> None:
    """A later failure, because of the end itself, does not hide why it came."""
    ending = Ending()
    first, second = ValueError("first"), ValueError("second")
    ending.fail(first, Termination(EndCause.SOURCE_FAILED, "source"))
    ending.fail(second, Termination(EndCause.PREPARE_FAILED, "prepare"))
    assert ending.error is first
    assert ending.describe().cause is EndCause.SOURCE_FAILED


def test_ending_in_peace() -> None:
    """Without a reason, every item was processed."""
    assert Ending().close().complete
