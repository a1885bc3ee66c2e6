"""Items come from anywhere, lazily, and their source is closed by us."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from batchllm.api import run_batch, stream_batch
from batchllm.core import EndCause, InvalidItemError, LLMWorkItem, SourceError
from batchllm.engine import BlockingSource, blocking_source
from batchllm.engine.loop_watch import SLOW_SECONDS
from batchllm.journal import Journal
from batchllm.testing import (
    Answer,
    Hang,
    Leak,
    ScriptedStrategy,
    open_inline_worker,
    play,
    run_inline,
    virtual_run,
)

pytestmark = pytest.mark.anyio


def in_place(path: Path) -> Journal:
    """A journal whose thread does not let virtual time run away."""
    return Journal(path, worker=open_inline_worker)


class Source:
    """Numbered items, with a note of how many were taken and whether it was closed."""

    def __init__(self, count: int = 1_000_000, *, error: BaseException | None = None) -> None:
        self.count, self.error = count, error
        self.taken, self.closed = 0, False

    def sync(self) -> Iterator[str]:
        try:
            for i in range(self.count):
                self.taken += 1
                yield f"p{i}"
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True

    async def asynchronous(self) -> AsyncIterator[str]:
        try:
            for item in self.sync():
                await checkpoint()
                yield item
        finally:
            await anyio.sleep(0.5)  # closing may take an await, also under a cancellation
            self.closed = True

    def blocking(self) -> BlockingSource:
        return blocking_source(self.sync(), run_sync=run_inline)

    def as_kind(self, kind: str) -> Any:
        return {"sync": self.sync, "async": self.asynchronous, "blocking": self.blocking}[kind]()


KINDS = ("sync", "async", "blocking")


@pytest.mark.parametrize("kind", KINDS)
async def test_read_to_the_end(kind: str) -> None:
    """Every item, once, in order."""
    source = Source(25)
    result = await run_batch(source.as_kind(kind), ScriptedStrategy(), concurrency=3)
    assert result.outputs == [f"p{i}" for i in range(25)]
    assert source.closed


@pytest.mark.parametrize("kind", KINDS)
async def test_read_no_further_than_the_window(kind: str) -> None:
    """An endless source is read as far as the bounds allow; leaving closes it."""
    source = Source()
    async with stream_batch(source.as_kind(kind), ScriptedStrategy(Hang()), concurrency=3):
        await anyio.sleep(100.0)
        assert 3 <= source.taken <= 6
    assert source.closed


@pytest.mark.parametrize("kind", KINDS)
async def test_slow_reader_slows_the_source(kind: str) -> None:
    """Results that nobody reads keep further items from being read."""
    source = Source()
    async with stream_batch(source.as_kind(kind), ScriptedStrategy(), concurrency=3) as run:
        await anyio.sleep(10.0)
        assert source.taken <= 6
        for read in range(1, 6):
            await anext(run)
            await anyio.sleep(1.0)
            assert source.taken <= 6 + read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", [0, 1, 5])
async def test_raises_half_way(kind: str, when: int) -> None:
    """Items that came before the error are not lost."""
    source = Source(when, error=OSError("disk gone"))
    with pytest.raises(SourceError, match="disk gone") as caught:
        await run_batch(source.as_kind(kind), ScriptedStrategy(), concurrency=50)
    assert caught.value.partial.total_items == when
    assert f"after {when} of them" in str(caught.value)
    assert source.closed


async def test_stopped_while_a_burst_is_read() -> None:
    """Nothing is read after the item during which the run is stopped; each item has its result."""
    stops: list[Callable[[], None]] = []

    class Stopping(Source):
        def sync(self) -> Iterator[str]:
            for item in super().sync():
                if stops and self.taken % 8 == 5:  # in the middle of a burst
                    stops.pop()()
                yield item

    source = Stopping()
    async with stream_batch(source.sync(), ScriptedStrategy(), concurrency=50) as run:
        stops.append(run.stop)
        results = [result async for result in run]
    assert not stops
    assert source.closed
    ids = sorted(int(result.item_id) for result in results)
    assert ids == list(range(source.taken))
    assert run.result.termination.cause is EndCause.STOPPED


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelled_while_reading(kind: str) -> None:
    """The source is closed under the cancellation."""
    source = Source()
    with anyio.move_on_after(2.0):
        await run_batch(source.as_kind(kind), ScriptedStrategy(Answer(after=1.0)))
    assert source.closed


async def test_leaked_cancellation_of_a_source() -> None:
    """One that was not asked for is the source's failure, not the end of the caller."""

    async def items() -> AsyncIterator[str]:
        yield "a"
        await play(Leak())

    with pytest.raises(SourceError, match="was not asked for"):
        await run_batch(items(), ScriptedStrategy())


async def test_any_exception_of_a_sync_source() -> None:
    """As above, for a plain iterator."""

    class Odd(BaseException):
        pass

    def items() -> Iterator[str]:
        yield "a"
        raise Odd

    with pytest.raises(SourceError, match="Odd that was not asked for"):
        await run_batch(items(), ScriptedStrategy())


async def test_any_exception_of_a_sync_source_as_a_run_goes_on(tmp_path: Path) -> None:
    """A cancellation that is leaked by one must not be taken for the end of the items."""

    class Odd(BaseException):
        pass

    names = [(f"n{i}", "p") for i in range(6)]

    def items(error: BaseException) -> Iterator[tuple[str, str]]:
        yield from names
        raise error

    for number, error in enumerate([anyio.get_cancelled_exc_class(), Odd]):
        path = tmp_path / f"{number}.db"
        if error is not Odd and error.__module__.startswith("trio"):
            continue  # which lets no one make one
        await run_batch(names[:3], ScriptedStrategy(), journal=in_place(path))
        with pytest.raises(SourceError, match="was not asked for") as caught:
            await run_batch(items(error()), ScriptedStrategy(), journal=in_place(path))
        assert caught.value.partial.total_items == 6


async def test_stop_from_inside_the_source() -> None:
    """The feed closes at once: nothing that the source gives afterwards is accepted."""
    from batchllm.api import BatchRun

    run = BatchRun[Any]()

    def items() -> Iterator[str]:
        yield "a"
        run.stop()
        while True:
            yield "more"

    result = await run_batch(items(), ScriptedStrategy(), into=run)
    assert result.total_items <= 2
    assert result.termination.cause is EndCause.STOPPED


async def test_close_that_hangs() -> None:
    """Closing has a deadline, and is told of when it passes."""

    async def items() -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            await anyio.sleep_forever()

    from batchllm.api import BatchRun

    run = BatchRun[Any]()

    async def stop() -> None:
        await anyio.sleep(1.0)
        run.stop()

    async with anyio.create_task_group() as group:
        group.start_soon(stop)
        result = await run_batch(
            items(), ScriptedStrategy(Answer(after=2.0)), concurrency=1, into=run
        )
    assert ["closing the items took longer than 5 s" in w for w in result.warnings] == [True]


async def test_close_that_raises() -> None:
    """It is a warning, and no result is lost."""

    class Items:
        def __iter__(self) -> Items:
            return self

        def __next__(self) -> str:
            raise StopIteration

        def close(self) -> None:
            raise ValueError("still busy")

    result = await run_batch(Items(), ScriptedStrategy())
    assert list(result.warnings) == ["closing the items raised ValueError: still busy"]


@pytest.mark.parametrize("items", ["text", b"bytes", 7, None])
async def test_no_source_at_all(items: Any) -> None:
    """Told at once, with what to give."""
    with pytest.raises(InvalidItemError, match=r"^items is (a str|a bytes|an int|None)\b"):
        await run_batch(items, ScriptedStrategy())


async def test_a_mapping_is_no_source() -> None:
    """Its keys alone would be sent: the way to its pairs is told."""
    with pytest.raises(InvalidItemError, match=r"^items is a dict, which gives .* \.items\(\)"):
        await run_batch({"id": "prompt"}, ScriptedStrategy())
    result = await run_batch({"id": "prompt"}.items(), ScriptedStrategy())
    assert list(result.by_id()) == ["id"]


@pytest.mark.parametrize(
    ("items", "told"),
    [(5, "is an int"), ("abc", "is a str"), ({"a": "b"}, "only its keys"), (list, "is the class")],
)
async def test_a_blocking_source_of_nothing(items: Any, told: str) -> None:
    """It is refused where it is made, and not in the middle of a batch."""
    with pytest.raises(InvalidItemError, match=rf"^items of blocking_source\(\) .*{told}"):
        blocking_source(items)


async def test_an_asynchronous_source_blocks_nothing() -> None:
    """It is told to be given as it is."""
    source: Any = Source().asynchronous()
    with pytest.raises(InvalidItemError, match="an async_generator, which is asynchronous"):
        blocking_source(source)


async def test_the_size_is_asked_for_once() -> None:
    """``len()`` of a user's object may be slow: a query, a file to be counted."""

    class Sized(list[str]):
        asked = 0

        def __len__(self) -> int:
            self.asked += 1
            return super().__len__()

    items, totals = Sized(["a", "b", "c"]), list[int]()
    await run_batch(
        items, ScriptedStrategy(), progress_callback=lambda done, total, item: totals.append(total)
    )
    assert (items.asked, totals) == (1, [3, 3, 3])


async def test_source_that_cannot_be_opened() -> None:
    """An ``__iter__`` that raises is a failure of the source."""

    class Items:
        def __iter__(self) -> Iterator[str]:
            raise OSError("no such table")

    with pytest.raises(SourceError, match="no such table"):
        await run_batch(Items(), ScriptedStrategy())


async def test_size_that_cannot_be_told() -> None:
    """A broken ``__len__`` is no reason to fail."""

    class Items(list[str]):
        def __len__(self) -> int:
            raise OSError

    result = await run_batch(Items(["a", "b"]), ScriptedStrategy())
    assert result.succeeded == 2


async def test_a_source_that_holds_the_loop_is_advised_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line names ``blocking_source``, and the source itself goes on as if there were none."""

    def items() -> Iterator[str]:
        for i in range(12):
            begun = time.thread_time()
            while time.thread_time() - begun < 1.5 * SLOW_SECONDS:
                pass  # computes, which shows however little of the machine is ours
            yield f"p{i}"

    result = await run_batch(items(), ScriptedStrategy(), concurrency=1)
    assert result.succeeded == 12
    (advice,) = [r for r in caplog.records if "blocking_source(items)" in r.getMessage()]
    assert (advice.name, advice.levelname) == ("batchllm", "WARNING")


def test_blocking_source_in_a_thread() -> None:
    """In real time it is read in a thread, and one that blocks there is not waited for."""
    blocked, release, closed = threading.Event(), threading.Event(), threading.Event()

    def items() -> Iterator[str]:
        try:
            yield "a"
            blocked.set()
            release.wait(60)
            yield "b"
        finally:
            closed.set()

    async def main() -> None:
        async with stream_batch(blocking_source(items()), ScriptedStrategy(), concurrency=1) as run:
            async for result in run:
                assert result.output == "a"
                await anyio.to_thread.run_sync(blocked.wait, 60)
                break
        assert not closed.is_set()
        release.set()
        await anyio.to_thread.run_sync(closed.wait, 60)

    anyio.run(main)
    assert closed.is_set()


async def test_bad_items() -> None:
    """Each becomes a failed result with an id of its own, and nothing is sent for it."""
    items: list[Any] = [
        "good",
        ("x", "good"),
        ("x", "twice"),
        ("", "blank"),
        (1, 2, 3, 4),
        42,
        ("5", "as an index would be"),
        LLMWorkItem("own", None, "p"),
    ]
    strategy = ScriptedStrategy()
    seen: list[str] = []
    result = await run_batch(items, strategy, post_processor=lambda r: seen.append(r.item_id))
    assert [r.error_category for r in result.in_input_order()] == [
        None,
        None,
        *["invalid_item"] * 4,
        None,
        None,
    ]
    assert len(result.by_id()) == len(items) == len(seen)
    assert "its id 'x' came before" in str(result.in_input_order()[2].error)
    assert sorted(strategy.prompts) == sorted(["good", "good", "as an index would be", "p"])


class ProxyOfNothing:
    """As of frameworks that have an object only within a request: to look at it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise LookupError(f"no {name} outside of a request")


class Nameless(ScriptedStrategy):
    """A strategy that cannot say what it is."""

    def identity(self) -> Any:
        raise LookupError("no name yet")


@pytest.mark.parametrize("journaled", [False, True])
async def test_items_that_cannot_be_looked_at(journaled: bool, tmp_path: Path) -> None:
    """An error of an item's own code is that item's, and no other's."""
    proxy = ProxyOfNothing()
    items: list[Any] = [
        proxy,
        ("a", proxy),
        (proxy, "p"),
        ("\udce9.txt", "an id that no encoding can carry"),
        LLMWorkItem("own", Nameless(), "p"),
        ("last", "p"),
    ]
    journal = in_place(tmp_path / "run.db") if journaled else None
    for _ in range(2):
        result = await run_batch(items, ScriptedStrategy(), journal=journal)
        found = result.in_input_order()
        wrong = ["invalid_item"] * 4 + (["invalid_item"] if journaled else [None])
        assert [one.error_category for one in found] == [*wrong, None]
        assert "cannot be read: LookupError: no __class__ outside" in str(found[1].error)
        assert "half a surrogate pair" in str(found[3].error)


async def test_no_strategy() -> None:
    """An item without one, in a batch without one, is invalid; the others run."""
    strategy: Any = ScriptedStrategy()
    wrong: Any = "a text"
    items = ["none", LLMWorkItem("mine", strategy, "p"), LLMWorkItem("odd", wrong, "p")]
    result = await run_batch(items)
    assert [r.error_category for r in result.in_input_order()] == [
        "invalid_item",
        None,
        "invalid_item",
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_scope_across_a_yield(backend: Any) -> None:
    """A source that keeps a scope open between items may, as long as it is read to its end."""

    async def items() -> AsyncIterator[str]:
        with anyio.CancelScope():
            for i in range(5):
                yield f"p{i}"
                await checkpoint()

    result = virtual_run(run_batch, items(), ScriptedStrategy(), backend=backend)
    assert result.succeeded == 5
