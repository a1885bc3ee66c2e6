"""The table per event loop: leases, loops that have ended, forks, and one maker for all."""

import asyncio
import os
import threading

import anyio
import pytest
from attrs import define, field

from batchllm.transport.loops import LoopTable, OneMaker

pytestmark = pytest.mark.anyio


@define(eq=False)
class Value:
    """Notes how it ended."""

    ended: list[str] = field(factory=list)

    async def close(self) -> None:
        self.ended.append("closed")

    def abandon(self) -> None:
        self.ended.append("abandoned")


async def test_the_last_lease_closes() -> None:
    """The first lease makes the value, the last one closes and removes it."""
    table = LoopTable(Value)
    table.hold()
    table.hold()
    value = table.of_this_loop()
    assert (len(table), table.leases) == (1, 2)
    await table.release()
    assert (value.ended, table.of_this_loop() is value) == ([], True)
    await table.release()
    await table.release()
    assert (value.ended, len(table), table.peek()) == (["closed"], 0, None)


async def test_a_closed_value_is_made_anew() -> None:
    """After closing, whatever leases there were, the next use starts afresh."""
    table = LoopTable(Value)
    table.hold()
    value = table.of_this_loop()
    await table.close()
    assert value.ended == ["closed"]
    assert table.of_this_loop() is not value


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_loops_that_have_ended_are_dropped_at_the_next_lease(backend: str) -> None:
    """It was never released, and its loop is gone: it is closed without the loop."""
    table = LoopTable(Value)

    async def use() -> Value:
        table.hold()
        return table.of_this_loop()

    left = [anyio.run(use, backend=backend) for _ in range(3)]
    assert [value.ended for value in left] == [["abandoned"], ["abandoned"], []]
    assert len(table) == 1


def test_each_loop_has_its_own() -> None:
    """Threads with loops of both kinds at once do not see each other's values."""
    table = LoopTable(Value)
    meeting = threading.Barrier(4)
    seen: list[Value] = []

    async def use() -> None:
        table.hold()
        value = table.of_this_loop()
        await anyio.to_thread.run_sync(meeting.wait)
        assert table.of_this_loop() is value
        assert len(table) == 4
        await anyio.to_thread.run_sync(meeting.wait)
        seen.append(value)
        await table.release()

    kinds = ["asyncio", "trio"] * 2
    threads = [
        threading.Thread(target=anyio.run, args=(use,), kwargs={"backend": k}) for k in kinds
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(set(map(id, seen))) == 4
    assert len(table) == 0


async def test_a_forked_child_starts_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process the parent's value is closed without its loop, and a new one made."""
    table = LoopTable(Value)
    table.hold()
    parents = table.of_this_loop()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    childs = table.of_this_loop()
    assert childs is not parents
    assert (parents.ended, childs.ended) == (["abandoned"], [])


async def test_one_loop_makes_while_the_others_wait() -> None:
    """The turn goes on when the block is left, also by an error, and not before."""
    maker = OneMaker()
    maker._loop = elsewhere = asyncio.new_event_loop()
    start = anyio.current_time()

    async def leave() -> None:
        await anyio.sleep(10)
        elsewhere.close()  # it ended in the middle of its turn

    async with anyio.create_task_group() as group:
        group.start_soon(leave)
        async with maker.alone():
            assert anyio.current_time() - start == pytest.approx(10, abs=0.1)
    with pytest.raises(ZeroDivisionError):
        async with maker.alone():
            raise ZeroDivisionError
    assert maker._loop is None
