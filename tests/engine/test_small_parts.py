"""The small parts: ids, outboxes, the window, the state machine of an ending."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import EndCause, Termination, WorkItemResult
from batchllm.engine import CANCEL, DRAIN, Ending, OrderedOutbox, Outbox, Phase
from batchllm.engine.idset import IdSet
from batchllm.engine.window import Window

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


async def test_outbox_in_order_of_completion() -> None:
    """First finished, first read; after the last comes ``None``, for every reader."""
    outbox = Outbox()
    for index in (2, 0, 1):
        outbox.put(result(index))
    outbox.close()
    assert [r.submission_index for r in outbox.unread()] == [2, 0, 1]
    read = [await outbox.get() for _ in range(5)]
    assert [r and r.submission_index for r in read] == [2, 0, 1, None, None]


async def test_outbox_with_several_readers() -> None:
    """Each result goes to one of them, and all of them end."""
    outbox = Outbox()
    read: list[int] = []

    async def reader() -> None:
        while (got := await outbox.get()) is not None:
            read.append(got.submission_index)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(reader)
        for index in range(20):
            outbox.put(result(index))
            if index % 3 == 0:
                await anyio.sleep(0.1)
        outbox.close()
    assert sorted(read) == list(range(20))


async def test_a_cancelled_reader_loses_nothing() -> None:
    """A result is either returned or still there."""
    outbox = Outbox()
    with anyio.CancelScope() as scope:
        scope.cancel()
        outbox.put(result(0))
        await outbox.get()
    assert scope.cancelled_caught
    assert len(outbox.unread()) == 1


@given(st.permutations(range(12)), st.integers(1, 12), st.integers(0, 12))
def test_ordered_outbox(order: list[int], limit: int, finished: int) -> None:
    """It yields in input order, closes over gaps, and holds back no more than its limit."""

    async def main() -> None:
        outbox = OrderedOutbox(limit)
        held: list[int] = []
        done = order[:finished]
        for index in done:
            outbox.put(result(index))
        missing = min(set(range(13)) - set(done))
        assert [r.submission_index for r in outbox.unread()] == sorted(done)
        assert outbox.has_room(limit - 1)
        assert not outbox.has_room(limit)
        for index in range(missing):
            got = await outbox.get()
            assert got is not None
            held.append(got.submission_index)
            assert outbox.has_room(limit + index)
            assert not outbox.has_room(limit + index + 1)
        outbox.close()
        while (got := await outbox.get()) is not None:
            held.append(got.submission_index)
        assert held == sorted(done)

    anyio.run(main)


async def test_window() -> None:
    """Sleepers are outside, in a number that is bounded as well."""
    window = Window(2, max_sleeping=1)
    assert window.has_room
    window.taken = 2
    assert not window.has_room
    with window.asleep():
        assert not window.has_room, "as many sleep as may"
    window = Window(2, max_sleeping=2)
    window.taken = 2
    with window.asleep():
        assert window.has_room
    assert not window.has_room
    window.cooling = lambda: 1
    assert window.has_room
    window.cooling = lambda: 2
    assert not window.has_room
    window.release()
    assert window.has_room
    window.resize(1)
    assert not window.has_room


async def test_window_wakes_the_feed() -> None:
    """Whoever leaves, falls asleep or changes the size wakes who waits for news."""
    window = Window(2, max_sleeping=9)
    heard = 0

    async def listen() -> None:
        nonlocal heard
        for _ in range(3):
            await window.news()
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
    ending = Ending(on_change=phases.append)
    first = Termination(EndCause.STOPPED, "first")
    second = Termination(EndCause.STOPPED, "second")
    assert ending.describe().cause is EndCause.RUNNING
    assert ending.request(DRAIN, first)
    assert not ending.request(DRAIN, second)
    assert ending.stopping
    assert not ending.cancelled_by_us
    assert ending.request(CANCEL, second)
    assert ending.cancelled_by_us
    assert not ending.request(DRAIN, second)
    assert ending.close(second) is first
    assert not ending.request(CANCEL, second)
    assert phases == [Phase.DRAINING, Phase.CANCELLING]


def test_ending_keeps_its_first_error() -> None:
    """What fails later, because of the end itself, does not hide why it came."""
    ending = Ending()
    first, second = ValueError("first"), ValueError("second")
    ending.fail(first, Termination(EndCause.SOURCE_FAILED, "source"))
    ending.fail(second, Termination(EndCause.PREPARE_FAILED, "prepare"))
    assert ending.error is first
    assert ending.describe().cause is EndCause.SOURCE_FAILED


def test_ending_in_peace() -> None:
    """Without a reason, every item was processed."""
    assert Ending().close().complete
