"""A batch with a journal: committed before seen, resumed by the same call, whole at any moment."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from attrs import define, evolve, field

import batchllm.journal.opening
from batchllm.api import ParallelBatchProcessor, run_batch, run_batch_sync, stream_batch
from batchllm.core import (
    BaseMiddleware,
    BatchResult,
    ConfigError,
    EndCause,
    JournalError,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessorConfig,
    ProviderError,
    RetryConfig,
    SourceError,
    WorkItemResult,
)
from batchllm.engine import CANCEL, DRAIN
from batchllm.journal import Journal, Store
from batchllm.testing import (
    Answer,
    Backend,
    Hang,
    Raise,
    RecordingObserver,
    ScriptedStrategy,
    open_inline_worker,
    virtual_run,
)
from tests.engine.faces import FACES, Face, after, run_face
from tests.engine.moments import cancelled_at, is_for, share
from tests.journal.kit import Faults, saved

pytestmark = pytest.mark.anyio
BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")
FEW = ProcessorConfig(max_workers=2, retry=RetryConfig(max_attempts=2, jitter=False))


def in_place(path: Path, **more: Any) -> Journal:
    """A journal whose thread does not let virtual time run away."""
    return Journal(path, worker=open_inline_worker, **more)


def items(count: int) -> list[tuple[str, str]]:
    return [(f"n{i}", f"p{i}") for i in range(count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


# The order.


@pytest.mark.parametrize("face", FACES)
async def test_whoever_sees_a_result_finds_it_on_the_disk(path: Path, face: Face) -> None:
    """Readers, post-processors, observers and progress callbacks alike."""
    unsaved: list[str] = []

    def check(who: str, prompt: str) -> None:
        if prompt not in saved(path):
            unsaved.append(f"{who} saw {prompt}")

    class Watcher(RecordingObserver):
        async def on_event(self, event: Any, data: Any) -> None:
            if event.value == "item_completed":
                check("an observer", "p" + data["item_id"][1:])

    ended = await run_face(
        face,
        items(7),
        ScriptedStrategy(),
        journal=in_place(path),
        post_processor=lambda result: check("the post-processor", result.output),
        observers=[Watcher()],
        config=ProcessorConfig(
            max_workers=3, progress_callback=lambda done, total, name: check("progress", "p0")
        ),
    )
    assert len(ended.by_id) == 7
    assert not unsaved
    assert saved(path) == {f"p{i}" for i in range(7)}


@pytest.mark.parametrize("face", FACES)
async def test_the_same_call_again_calls_for_nothing(path: Path, face: Face) -> None:
    """Results are replayed, at their places, and cost nothing this time."""
    strategy = ScriptedStrategy(
        Answer("x", usage={"input_tokens": 3, "output_tokens": 1, "total_tokens": 4})
    )
    first = await run_face(face, items(5), strategy, journal=in_place(path))
    again = await run_face(face, items(5), strategy, journal=in_place(path))
    assert len(strategy.calls) == 5
    assert first.categories == again.categories
    assert all(r.replayed and r.output == "x" for r in again.results)
    assert {r.submission_index for r in again.results} == set(range(5))
    batch = again.batch
    assert (batch.total_items, batch.succeeded, batch.tally.before) == (5, 5, 5)
    assert (batch.total_input_tokens, batch.tally.usage_before["input_tokens"]) == (0, 15)
    assert "5 items finished by earlier runs" in batch.summary()
    if face == "ordered":
        assert [r.item_id for r in again.results] == [f"n{i}" for i in range(5)]


@pytest.mark.parametrize("face", FACES)
async def test_skipping_counts_and_delivers_only_what_is_new(path: Path, face: Face) -> None:
    strategy = ScriptedStrategy()
    await run_face(face, items(40), strategy, journal=in_place(path))
    mixed = [("new 0", "q"), *items(40), ("new 1", "q")]
    ended = await run_face(face, mixed, strategy, journal=in_place(path), on_resume="skip")
    assert list(ended.by_id) == ["new 0", "new 1"]
    assert ended.batch.tally.before == 40
    assert [r.submission_index for r in ended.results] == [0, 41]
    assert len(strategy.calls) == 42


async def test_items_without_ids_are_found_by_their_prompts(path: Path) -> None:
    """A line inserted in front moves none; one more of the same prompt is one more."""
    strategy = ScriptedStrategy()
    await run_batch(["a", "b", "a"], strategy, journal=in_place(path))
    result = await run_batch(["new", "a", "b", "a", "a"], strategy, journal=in_place(path))
    assert sorted(strategy.prompts) == ["a", "a", "a", "b", "new"]
    assert sorted(r.item_id for r in result) == ["0", "1", "2", "3", "4"]
    assert [r.output for r in result.in_input_order()] == ["new", "a", "b", "a", "a"]


async def test_the_context_is_the_present_ones(path: Path) -> None:
    strategy = ScriptedStrategy()
    marker = object()
    await run_batch([("a", "p", "old")], strategy, journal=in_place(path))
    result = await run_batch([("a", "p", marker)], strategy, journal=in_place(path))
    assert result.results[0].context is marker


async def test_identity_is_of_the_prompt_as_it_was_submitted(path: Path) -> None:
    """A middleware that writes the time into each prompt is no reason to pay again."""

    class Stamp(BaseMiddleware):
        async def before_process(self, work_item: Any) -> Any:
            work_item.prompt = f"{work_item.prompt} at {anyio.current_time()}"

    strategy = ScriptedStrategy()
    for _ in range(2):
        await run_batch(items(3), strategy, journal=in_place(path), middlewares=[Stamp()])
        await anyio.sleep(1)
    assert len(strategy.calls) == 3


async def test_an_edited_prompt_runs_again_and_takes_the_place_of_the_old(path: Path) -> None:
    strategy = ScriptedStrategy()
    await run_batch([("a", "old"), ("b", "same")], strategy, journal=in_place(path))
    for _ in range(2):
        await run_batch([("a", "new"), ("b", "same")], strategy, journal=in_place(path))
    assert sorted(strategy.prompts) == ["new", "old", "same"]


async def test_failures_are_taken_over_or_run_again(path: Path) -> None:
    strategy = ScriptedStrategy({"p1": Raise(lambda: ValueError("no"))})
    await run_batch(items(3), strategy, journal=in_place(path), config=FEW)
    calls = len(strategy.calls)
    again = await run_batch(items(3), strategy, journal=in_place(path), config=FEW)
    assert len(strategy.calls) == calls
    (failed,) = again.failures
    assert (failed.item_id, failed.replayed) == ("n1", True)
    assert str(failed.exception) == "ValueError: no"
    await run_batch(items(3), strategy, journal=in_place(path, retry_failed=True), config=FEW)
    assert strategy.prompts[calls:] == ["p1", "p1"]


async def test_what_the_item_had_no_part_in_runs_again_unasked(path: Path) -> None:
    """A key that was refused: the same call with another key goes on."""
    strategy = ScriptedStrategy(
        [Raise(lambda: ProviderError("who are you", status=401)), Answer()], per_call=True
    )
    first = await run_batch([("a", "p")], strategy, journal=in_place(path))
    assert first.results[0].error_category == "authentication"
    again = await run_batch([("a", "p")], strategy, journal=in_place(path))
    assert (again.results[0].success, again.results[0].replayed) == (True, False)


async def test_another_strategy_is_refused_before_anything_is_sent(path: Path) -> None:
    class Warm(LLMCallStrategy[str]):
        def __init__(self, temperature: float) -> None:
            self.temperature = temperature
            self.calls = 0

        async def execute(self, prompt: Any, attempt: int, timeout: float, *args: Any) -> Any:
            self.calls += 1
            return prompt, None

    await run_batch(items(3), Warm(0.0), journal=in_place(path))
    other = Warm(0.2)
    with pytest.raises(JournalError, match="3 finished items would run again") as caught:
        await run_batch(items(3), other, journal=in_place(path))
    assert caught.value.problem == "changed"
    assert caught.value.partial.termination.cause is EndCause.JOURNAL_FAILED
    kept = await run_batch(items(3), other, journal=in_place(path, on_changed="keep"))
    assert (other.calls, kept.tally.before) == (0, 3)
    await run_batch(items(3), other, journal=in_place(path, on_changed="rerun"))
    assert other.calls == 3


async def test_what_is_wrong_with_an_item_is_said_each_time(path: Path) -> None:
    """Bad items and duplicates have their results, and no place in the journal."""
    bad: list[Any] = [("a", "p"), ("a", "q"), 3, [{"role": "user", "content": object()}]]
    for _ in range(2):
        result = await run_batch(bad, ScriptedStrategy(), journal=in_place(path))
        assert [r.success for r in result.in_input_order()] == [True, False, False, False]
        assert "give the item an id" in str(result.in_input_order()[3].error)


async def test_a_pending_post_processor_is_called_when_the_batch_goes_on(path: Path) -> None:
    """Its result was written down, and its run was cancelled before it was called."""
    seen: list[str] = []

    async def post_process(result: WorkItemResult[Any, Any]) -> None:
        await anyio.sleep(50)  # longer than what a cancellation leaves it
        seen.append(result.item_id)

    strategy = ScriptedStrategy()
    config = ProcessorConfig(hook_timeout=None, cleanup_timeout=5.0)
    with anyio.move_on_after(2):
        await run_batch(
            items(2), strategy, journal=in_place(path), post_processor=post_process, config=config
        )
    assert (seen, saved(path)) == ([], {"p0", "p1"})
    for _ in range(2):
        await run_batch(
            items(2), strategy, journal=in_place(path), post_processor=post_process, config=config
        )
    assert sorted(seen) == ["n0", "n1"]
    assert len(strategy.calls) == 2


async def test_a_dry_run_leaves_no_journal(path: Path) -> None:
    config = ProcessorConfig(dry_run=True)
    await run_batch(items(2), ScriptedStrategy(), journal=in_place(path), config=config)
    assert not await anyio.Path(path).exists()


async def test_going_on_needs_a_journal() -> None:
    with pytest.raises(ConfigError, match="there is no journal to go on from"):
        await run_batch(["a"], ScriptedStrategy(), on_resume="skip")
    with pytest.raises(ConfigError, match="journal is an int"):
        await run_batch(["a"], ScriptedStrategy(), journal=3)  # type: ignore[arg-type]


async def test_an_output_that_cannot_be_kept_ends_the_run_at_the_first(path: Path) -> None:
    """And not at item 80,000: what was given is in the error."""
    strategy = ScriptedStrategy({"p0": Answer(object())})
    config = ProcessorConfig(max_workers=1)
    with pytest.raises(JournalError, match="item 'n0': its output") as caught:
        await run_batch(items(50), strategy, journal=in_place(path), config=config)
    assert [r.item_id for r in caught.value.unsaved] == ["n0"]
    assert len(strategy.calls) < 5


async def test_a_processor_goes_on_from_batch_to_batch(path: Path) -> None:
    strategy = ScriptedStrategy()
    for how in ("replay", "skip"):
        async with ParallelBatchProcessor[str, str, None](
            journal=in_place(path),
            on_resume=how,
        ) as processor:
            for begin in (0, 3):
                for i in range(begin, begin + 3):
                    await processor.add_work(LLMWorkItem(f"n{i}", strategy, prompt=f"p{i}"))
                result = await processor.process_all()
                assert result.total_items == (0 if how == "skip" else 3)
    assert len(strategy.calls) == 6


def test_the_entry_point_for_code_that_is_not_async(path: Path) -> None:
    """In real time, with the journal's own thread."""
    strategy = ScriptedStrategy()
    for _ in range(2):
        result = run_batch_sync(items(20), strategy, journal=path)
        assert result.succeeded == 20
    assert len(strategy.calls) == 20
    assert not path.with_name("run.db-wal").exists()


async def test_what_was_learned_of_a_quota_is_there_next_time(path: Path) -> None:
    """A gate begins at the pace that an earlier run found."""
    async with stream_batch(items(1), ScriptedStrategy(), journal=in_place(path)) as run:
        async for _ in run:
            pass
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO quotas VALUES ('common', 5.0, 60.0, 0)")
        db.execute("UPDATE quotas SET at = (SELECT max(started) FROM runs)")
    batch = await run_batch(items(2), ScriptedStrategy(), journal=in_place(path))
    (scope,) = batch.stats["scopes"].values()
    assert scope.rate == pytest.approx(5.0)


async def test_what_is_passed_over_at_a_glance_is_counted_and_checked_as_ever(path: Path) -> None:
    """In a row of finished items: an edited one, an id that comes twice, one of another kind."""
    count, strategy = 200, ScriptedStrategy()
    await run_batch(items(count), strategy, journal=in_place(path))
    again: list[Any] = items(count)
    again[90] = ("n90", "edited")
    again[120] = ("n3", "p3")  # its own item comes later under the same id no more
    again[150] = LLMWorkItem("n150", prompt="p150")
    again.append(("n3", "p3"))
    journal = in_place(path, on_resume="skip")
    result = await run_batch(again, strategy, journal=journal)
    assert strategy.prompts[count:] == ["edited"]
    by_position = {one.submission_index: one for one in result.results}
    assert sorted(by_position) == [90, 120, count]
    assert "its id 'n3' came before" in str(by_position[120].error)
    assert "its id 'n3' came before" in str(by_position[count].error)
    assert result.tally.before == count - 2  # all but the edited one and the one that is gone
    assert result.stats["journal"]["decisions"] == {"finished": count - 2, "prompt_changed": 1}
    assert result.never_read == 0


# Every ending.


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("how", [DRAIN, CANCEL])
async def test_a_run_that_was_stopped_goes_on(path: Path, face: Face, how: Any) -> None:
    """Finished items are committed; the rest runs next time, and nothing twice."""
    strategy = ScriptedStrategy(Answer(after=1.0))
    config = ProcessorConfig(max_workers=2)
    act = after(2.5, lambda run: run.stop(how))
    first = await run_face(face, items(9), strategy, act=act, config=config, journal=in_place(path))
    finished = {r.item_id for r in first.results if r.success}
    assert {"p" + name[1:] for name in finished} == saved(path)
    assert 0 < len(finished) < 9
    again = await run_face(face, items(9), strategy, config=config, journal=in_place(path))
    assert {r.item_id for r in again.results if r.replayed} == finished
    assert len(again.by_id) == 9
    repeated = Counter(strategy.prompts)
    assert sum(repeated.values()) - 9 <= (2 if how is CANCEL else 0)
    billed = again.batch.stats["journal"]["maybe_billed"]
    assert billed == sum(repeated.values()) - 9


async def test_a_reader_that_leaves_loses_nothing_finished(path: Path) -> None:
    strategy = ScriptedStrategy(Answer(after=1.0))
    config = ProcessorConfig(max_workers=3)
    async with stream_batch(items(9), strategy, config=config, journal=in_place(path)) as run:
        async for _ in run:
            break
    kept = saved(path)
    assert len(kept) >= 1
    result = await run_batch(items(9), strategy, config=config, journal=in_place(path))
    assert {"p" + r.item_id[1:] for r in result if r.replayed} == kept
    assert result.succeeded == 9


async def test_a_source_that_fails_leaves_a_journal_to_go_on_from(path: Path) -> None:
    strategy = ScriptedStrategy()

    async def broken() -> AsyncIterator[tuple[str, str]]:
        for item in items(3):
            yield item
        await anyio.sleep(1)
        raise OSError("the disk of the source")

    with pytest.raises(Exception, match="the disk of the source") as caught:
        await run_batch(broken(), strategy, journal=in_place(path))
    assert isinstance(caught.value, SourceError)
    assert caught.value.partial.succeeded == 3
    assert (await run_batch(items(5), strategy, journal=in_place(path))).tally.before == 3
    assert len(strategy.calls) == 5


# Every n-th write, and every n-th turn of the loop.


@define(eq=False)
class Witness:
    """One batch, run again and again on one journal until it is done.

    With hooks each item's task waits for its commit; without, one task delivers what is written.
    """

    path: Path
    hooks: bool = True
    strategy: ScriptedStrategy = field(
        factory=lambda: ScriptedStrategy(
            {
                "p1": [Raise(ConnectionError), Answer("late")],
                "p2": Raise(lambda: ValueError("no")),
                "p3": Hang(Answer("swallowed")),
            },
            cleanup=Answer(after=0.1),
        )
    )
    delivered: dict[str, WorkItemResult[Any, Any]] = field(factory=dict)
    unsaved: set[str] = field(factory=set)
    fresh: dict[str, int] = field(factory=dict)
    runs: int = 0

    async def run(self, store: Any = None) -> bool:
        """Read the batch to its end; whether it got there."""
        options: dict[str, Any] = {
            "config": ProcessorConfig(
                max_workers=2, attempt_timeout=2.0, retry=RetryConfig(max_attempts=2, jitter=False)
            ),
            "journal": in_place(self.path),
        }
        if self.hooks:
            options |= {"middlewares": [BaseMiddleware()], "post_processor": self.post_process}
        self.unsaved = set()
        self.runs += 1
        try:
            async with stream_batch(items(6), self.strategy, **options) as run:
                async for result in run:
                    if not result.not_run:
                        self.take(result)
        except JournalError as error:
            self.unsaved = {r.item_id for r in error.unsaved}
            fresh = {name for name, run in self.fresh.items() if run == self.runs}
            assert not self.unsaved & fresh, "an unsaved result was delivered"
            return False
        return True

    def take(self, result: WorkItemResult[Any, Any]) -> None:
        there = self.delivered.get(result.item_id)
        if there is not None:
            assert result.replayed, "a delivered result was called for again"
            assert result.output == there.output
        self.delivered[result.item_id] = result
        self.fresh[result.item_id] = self.runs
        assert "p" + result.item_id[1:] in saved(self.path)

    async def post_process(self, result: WorkItemResult[Any, Any]) -> None:
        await checkpoint()

    def check_whole(self) -> None:
        assert self.strategy.in_flight == 0
        with closing(sqlite3.connect(self.path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                assert db.execute("SELECT count(*) FROM driver").fetchone() == (0,)

    def check_done(self, interruptions: int) -> None:
        outputs = {name: result.output for name, result in self.delivered.items()}
        assert set(outputs) == {f"n{i}" for i in range(6)}
        assert not self.delivered["n2"].success
        calls = Counter(self.strategy.prompts)
        # What was in flight at an interruption, or waited for its commit, may be made again: the
        # four items of the window, by two attempts each.
        for prompt, least in (("p0", 1), ("p1", 2), ("p2", 2), ("p3", 1), ("p4", 1), ("p5", 1)):
            assert calls[prompt] >= least
        assert sum(calls.values()) <= 8 + 8 * interruptions


with_hooks = pytest.mark.parametrize("hooks", [True, False], ids=["hooks", "plain"])


@with_hooks
@pytest.mark.parametrize("backend", BACKENDS)
def test_cancelled_at_any_moment_the_same_call_goes_on(
    tmp_path: Path, backend: Backend, hooks: bool
) -> None:
    """After so many turns of the loop at the beginning, and at instants when timers fire."""

    async def cut(witness: Witness, instant: float, turns: int) -> bool:
        finished = False
        async with cancelled_at(instant, turns):
            finished = await witness.run()
        witness.check_whole()
        if not finished:
            assert await witness.run()
        witness.check_done(0 if finished else 1)
        return finished

    moments = share(backend, [0.0], range(0, 60, 2))
    moments += share(backend, (0.5, 1.0, 2.0, 2.1, 4.0, 90.0), (0, 1, 2, 4, 8, 16))
    ended = set()
    for instant, turns in moments:
        witness = Witness(tmp_path / f"{instant}-{turns}.db", hooks)
        ended.add(virtual_run(cut, witness, instant, turns, backend=backend))
    assert ended == {True, False}


@with_hooks
@pytest.mark.parametrize("backend", BACKENDS)
def test_whichever_write_fails_the_same_call_goes_on(
    tmp_path: Path, backend: Backend, hooks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail the 1st, 2nd, 3rd … statement: nothing unsaved is delivered, nothing saved is lost.

    Half of them on each backend.
    """
    faults = Faults(name="SQLITE_IOERR_WRITE")
    if not hooks:  # every statement is failed with hooks
        faults.counts = lambda statement: statement.split()[0] in ("BEGIN", "COMMIT", "INSERT")

    def store(path: Path, durability: Any, **given: Any) -> Store:
        return Store(path, durability, faults.connect, **given)

    monkeypatch.setattr(batchllm.journal.opening, "Store", store)

    async def fail(witness: Witness) -> bool:
        finished = await witness.run()
        faults.at = 0
        witness.check_whole()
        if not finished:
            assert await witness.run()
        witness.check_done(0 if finished else 1)
        return finished

    n, ends = 0, 0
    while ends < 3:  # closing has statements of its own, whose failure is no failure of the run
        n += 1
        if not is_for(backend, n):
            continue
        witness = Witness(tmp_path / f"{n}.db", hooks)
        faults.seen, faults.at = 0, n
        ends += virtual_run(fail, witness, backend=backend)
    assert n > (20 if hooks else 10)


def test_the_results_are_those_of_a_run_that_was_never_interrupted(tmp_path: Path) -> None:
    """Resume(prefix + cut) = run, for every place of the cut."""

    async def whole(name: str, stops: list[float]) -> dict[str, Any]:
        strategy = ScriptedStrategy(Answer(after=1.0))
        config = ProcessorConfig(max_workers=3)
        result: BatchResult[Any, Any] = BatchResult([])
        for seconds in [*stops, 1e6]:
            with anyio.move_on_after(seconds):
                result = await run_batch(
                    items(10), strategy, config=config, journal=in_place(tmp_path / name)
                )
        return {r.item_id: evolve(r, replayed=False, spans=()).output for r in result}

    expected = virtual_run(whole, "whole.db", [])
    for n in range(1, 8):
        assert virtual_run(whole, f"{n}.db", [n / 2, n / 2]) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_whichever_byte_is_damaged_it_is_the_journal_that_says_so(
    tmp_path: Path, backend: Backend
) -> None:
    """Not the source of the items, and nothing in words of Python's decoders.

    Each backend has 75 places of its own: what is read from a file is the same on both.
    """
    path, answers = tmp_path / "run.db", {f"p{n}": Answer("word " * 300 * n) for n in range(9)}

    async def run() -> BatchResult[Any, Any]:
        return await run_batch(items(9), ScriptedStrategy(answers), journal=in_place(path))

    virtual_run(run, backend=backend)
    whole, rng, problems = path.read_bytes(), random.Random(backend), set[str]()
    for _ in range(75):
        place = rng.randrange(100, len(whole))
        for file in tmp_path.iterdir():
            file.unlink()
        damaged = bytes([whole[place] ^ rng.choice([0x80, 0xFF, 0x01])])
        path.write_bytes(whole[:place] + damaged + whole[place + 1 :])
        try:
            assert virtual_run(run, backend=backend).total_items == 9
        except JournalError as error:
            problems.add(error.problem)
    assert problems <= {"corrupt", "foreign", "changed", "newer"}
    assert "corrupt" in problems
