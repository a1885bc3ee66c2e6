"""Groups, their thread, and every moment at which a write may fail or a task be cancelled."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve

from batchllm.core import JournalError
from batchllm.journal import Choice, Journal, Reason, open_journal
from batchllm.journal.owner import BEAT_EVERY
from batchllm.testing import Backend, virtual_run
from tests.journal.kit import Faults, Named, enter, failure, ok, opened
from tests.journal.test_identity import Counting

pytestmark = pytest.mark.anyio
BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")


def names_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {key[1:] for (key,) in db.execute("SELECT key FROM items")}


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


async def test_a_result_that_is_back_from_commit_is_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with opened(path) as journal:
        for name in "abc":
            await journal.commit(enter(journal, name), ok(name))
            assert name in names_in(path)


async def test_what_is_finished_is_taken_over(tmp_path: Path) -> None:
    """With all that is said of it, marked, and at its present place."""
    path = tmp_path / "run.db"
    async with opened(path) as journal:
        await journal.commit(enter(journal, "a"), evolve(ok("a", {"x": 1}), cost=0.5))
        await journal.commit(enter(journal, "b"), failure("b"))
    async with opened(path) as journal:
        entries = [journal.registrar.enter(n, f"prompt of {n}", 7) for n in "abc"]
        verdicts = await journal.decide(entries)
        assert [v.choice for v in verdicts] == [Choice.TAKE_OVER, Choice.TAKE_OVER, Choice.RUN]
        good, bad = [taken.result for taken in await journal.take_over(entries[:2])]
        assert (good.output, good.cost, good.success) == ({"x": 1}, 0.5, True)
        assert (good.replayed, good.submission_index) == (True, 7)
        assert (bad.success, bad.error, bad.error_category) == (False, "no", "unknown")
        assert str(bad.exception) == "ValueError: no"
        assert journal.ledger.taken_over == 2


async def test_what_was_in_flight_may_be_billed(tmp_path: Path) -> None:
    """A call that failed has ended; one that was cut off may have been answered all the same."""
    path = tmp_path / "run.db"
    async with opened(path) as journal:
        for name in ("answered", "failed", "cut off"):
            entry = enter(journal, name)
            call = journal.begin_call(entry, 1)
            if name == "answered":
                await journal.commit(entry, ok(name))
            elif name == "failed":
                journal.fail_call(entry, call, "server_error", "no", {"input_tokens": 3})
            else:
                journal.cut_off(entry, call)
    async with opened(path) as journal:
        names = ("answered", "failed", "cut off")
        verdicts = await journal.decide([enter(journal, name) for name in names])
        assert [v.reason for v in verdicts] == [Reason.FINISHED, Reason.NEW, Reason.MAYBE_BILLED]


async def test_another_strategy_is_refused_with_the_difference_and_the_price(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.db"
    async with opened(path) as journal:
        for name in "abc":
            await journal.commit(enter(journal, name), evolve(ok(name), cost=10.5))
    with pytest.raises(JournalError) as caught:
        async with opened(path, Named(0.2)):
            pass
    assert caught.value.problem == "changed"
    said = str(caught.value)
    assert "temperature 0.0 → 0.2: 3 finished items would run again, about $31.50" in said
    assert 'on_changed="rerun"' in said
    for how, choice in (("rerun", Choice.RUN), ("keep", Choice.TAKE_OVER)):
        async with opened(path, Named(0.2), on_changed=how) as journal:
            (verdict,) = await journal.decide([enter(journal, "a")])
            assert verdict.choice is choice


async def test_a_strategy_that_counts_its_calls_is_the_same_one(tmp_path: Path) -> None:
    """In the same process, where it comes back with another count, and in the next."""
    path, strategy = tmp_path / "run.db", Counting()
    for name in "abc":
        async with opened(path, strategy) as journal:
            strategy.calls += 1
            await journal.commit(enter(journal, name), ok(name))
    for again in (strategy, Counting()):
        async with opened(path, again) as journal:
            verdicts = await journal.decide([enter(journal, name) for name in "abc"])
            assert {verdict.choice for verdict in verdicts} == {Choice.TAKE_OVER}
    strategy.temperature = 0.3
    with pytest.raises(JournalError, match=r"temperature 0\.0 → 0\.3"):
        async with opened(path, strategy):
            pass


async def test_failures_alone_are_no_reason_to_refuse_another_strategy(tmp_path: Path) -> None:
    """As after a model's name that was mistyped: nothing was answered."""
    path = tmp_path / "run.db"
    async with opened(path) as journal:
        await journal.commit(enter(journal, "a"), failure("a"))
    async with opened(path, Named(0.2)) as journal:
        assert (await journal.decide([enter(journal, "a")]))[0].choice is Choice.RUN


async def test_a_changed_strategy_of_an_item_is_refused_at_that_item(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with opened(path) as journal:
        entry = journal.registrar.enter("a", "p", 0, Named(0.5))
        await journal.commit(entry, ok("a"))
    async with opened(path) as journal:
        entry = journal.registrar.enter("a", "p", 3, Named(0.6))
        with pytest.raises(JournalError, match="item 3 was answered under another strategy of its"):
            await journal.decide([entry])


async def test_a_prompt_that_was_edited_runs_again(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with opened(path) as journal:
        await journal.commit(enter(journal, "a", "old"), ok("a", "old"))
    async with opened(path) as journal:
        entry = enter(journal, "a", "new")
        assert (await journal.decide([entry]))[0].reason is Reason.PROMPT_CHANGED
        await journal.commit(entry, ok("a", "new"))
    async with opened(path) as journal:
        entry = enter(journal, "a", "new")
        assert (await journal.take_over([entry]))[0].result.output == "new"


async def test_a_pending_post_processor_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with opened(path) as journal:
        for name in "ab":
            await journal.commit(enter(journal, name), ok(name), pending=True)
        await journal.processed(enter(journal, "a"))
    async with opened(path) as journal:
        taken = await journal.take_over([enter(journal, name) for name in "ab"])
        assert [one.pending for one in taken] == [False, True]


async def test_without_prompts_the_file_has_only_digests(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with opened(path, journal_prompts=False) as journal:
        entry = enter(journal, "a", "CANARY in the prompt")
        await journal.commit(entry, evolve(ok("a"), context="CANARY in the context"))
    assert all(b"CANARY" not in data for data in contents(tmp_path))
    async with opened(path, journal_prompts=False) as journal:
        (verdict,) = await journal.decide([enter(journal, "a", "CANARY in the prompt")])
        assert verdict.choice is Choice.TAKE_OVER


async def test_a_prompt_of_an_earlier_run_is_overwritten_when_it_is_replaced(
    tmp_path: Path,
) -> None:
    """A journal that kept prompts goes on as one that keeps none, whatever SQLite's default is."""
    path = tmp_path / "run.db"
    async with opened(path) as journal:
        for name in "abc":
            await journal.commit(enter(journal, name, f"CANARY {name}"), failure(name))
    assert any(b"CANARY" in data for data in contents(tmp_path))
    async with opened(path, journal_prompts=False) as journal:
        (setting,) = journal.store._db.execute("PRAGMA secure_delete").fetchone()
        assert setting == 1
        for name in "abc":
            await journal.commit(enter(journal, name, f"CANARY {name}"), ok(name))
    assert all(b"CANARY" not in data for data in contents(tmp_path))


async def test_many_results_share_few_commits(tmp_path: Path) -> None:
    faults = Faults(counts=lambda statement: statement == "COMMIT")
    async with (
        opened(tmp_path / "run.db", connect=faults.connect) as journal,
        anyio.create_task_group() as group,
    ):
        for n in range(1_000):
            group.start_soon(journal.commit, enter(journal, str(n)), ok(str(n)))
    assert faults.seen < 12
    assert len(names_in(tmp_path / "run.db")) == 1_000


async def test_a_sign_of_life_is_given_while_nothing_happens(tmp_path: Path) -> None:
    path, clock = tmp_path / "run.db", [1_000.0]
    async with opened(path, wall_clock=lambda: clock[0]):
        with closing(sqlite3.connect(path)) as db:
            (before,) = db.execute("SELECT beat FROM driver").fetchone()
            await anyio.sleep(BEAT_EVERY + 1)
            assert db.execute("SELECT beat FROM driver").fetchone()[0] > before


async def test_a_network_disk_is_said_once(tmp_path: Path, monkeypatch: Any) -> None:
    said: list[str] = []
    monkeypatch.setattr("batchllm.journal.disks._NETWORK", frozenset({"ext4", "overlay", "tmpfs"}))
    monkeypatch.setattr("batchllm.journal.disks.mounted_as", lambda path, mounts: "tmpfs")
    async with opened(tmp_path / "run.db", on_wait=said.append):
        pass
    assert len(said) == 1
    assert "one process at a time" in said[0]


async def test_after_a_failed_write_nothing_is_written(tmp_path: Path) -> None:
    """Not even if the disk would take it again: what the system dropped, it does not report."""
    path = tmp_path / "run.db"
    faults = Faults(0, "SQLITE_IOERR_FSYNC", lambda statement: statement == "COMMIT")
    async with opened(path, connect=faults.connect) as journal:
        await journal.commit(enter(journal, "a"), ok("a"))
        faults.at = faults.seen + 1
        with pytest.raises(JournalError, match="the disk failed"):
            await journal.commit(enter(journal, "b"), ok("b"))
        with pytest.raises(JournalError, match="the disk failed"):
            await journal.commit(enter(journal, "c"), ok("c"))
        assert (await journal.failure()).problem == "io"
    assert names_in(path) == {"a"}
    async with opened(path) as journal:  # the same process goes on once the disk is mended
        await journal.commit(enter(journal, "b"), ok("b"))
    assert names_in(path) == {"a", "b"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_whichever_statement_fails_what_was_acknowledged_is_there(
    tmp_path: Path, backend: Backend
) -> None:
    """Fail the 1st, 2nd, 3rd … statement of a run, until one gets to its end."""

    async def run(path: Path, faults: Faults, seen: set[str]) -> bool:
        async def one(journal: Any, name: str) -> None:
            entry = enter(journal, name)
            journal.begin_call(entry, 1)
            try:
                await journal.commit(entry, ok(name), pending=True)
                seen.add(name)
                await journal.processed(entry)
            except JournalError as error:
                problems.add(error.problem)

        try:
            async with opened(path, connect=faults.connect) as journal:
                async with anyio.create_task_group() as group:
                    for n in range(5):
                        group.start_soon(one, journal, str(n))
                await one(journal, "last")
        except JournalError:
            return False
        return faults.seen < faults.at

    problems = set[str]()
    for n in range(1, 200):
        path, seen = tmp_path / f"{n}.db", set[str]()
        finished = virtual_run(run, path, Faults(n), seen, backend=backend)
        if path.stat().st_size:
            with closing(sqlite3.connect(path)) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            assert seen <= (names_in(path) if tables else set())
        if finished:
            assert seen == {*map(str, range(5)), "last"}
            assert problems == {"full"}
            return
    raise AssertionError("no run got to its end")


@pytest.mark.parametrize("backend", BACKENDS)
def test_cancelled_at_any_turn_the_journal_is_whole(tmp_path: Path, backend: Backend) -> None:
    """Cancel at the 1st, 2nd, 3rd … turn of the loop: acknowledged is written, and the file is
    closed in order, so that the same process opens it again."""

    async def run(path: Path, turns: int) -> tuple[bool, set[str]]:
        acknowledged, finished = set[str](), False

        async def work() -> None:
            nonlocal finished
            async with opened(path) as journal:
                for name in "abcde":
                    await journal.commit(enter(journal, name), ok(name))
                    acknowledged.add(name)
            finished = True

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        async with opened(path) as journal:
            entries = [enter(journal, name) for name in "abcde"]
            kept = {
                entry.key[1][1:]
                for entry, verdict in zip(entries, await journal.decide(entries), strict=True)
                if verdict.choice is Choice.TAKE_OVER
            }
        assert acknowledged <= kept
        return finished, kept

    for turns in range(200):
        finished, kept = virtual_run(run, tmp_path / f"{turns}.db", turns, backend=backend)
        if finished:
            assert kept == set("abcde")
            return
    raise AssertionError("it never got to its end")


async def test_an_output_that_cannot_be_kept_is_an_error_of_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path / "run.db") as journal:
        with pytest.raises(JournalError, match="item 'a'"):
            await journal.commit(enter(journal, "a"), ok("a", object()))
        await journal.commit(enter(journal, "b"), ok("b"))
    assert names_in(tmp_path / "run.db") == {"b"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_thread_is_one_and_ends_with_its_block(tmp_path: Path, backend: Backend) -> None:
    """In real time, since virtual time runs on while a thread works."""
    import threading

    async def main() -> None:
        threads = set[int]()
        before = set(threading.enumerate())
        async with open_journal(
            Journal(tmp_path / f"{backend}.db"),
            Named(),
            on_wait=lambda text: None,
        ) as journal:
            async with anyio.create_task_group() as group:
                for n in range(50):
                    group.start_soon(journal.commit, enter(journal, str(n)), ok(str(n)))
            for _ in range(3):
                threads.add(await journal.worker.call(threading.get_ident))
        assert len(threads) == 1
        # AnyIO keeps an idle thread for a while; it works for nobody.
        assert len(set(threading.enumerate()) - before) <= 1

    anyio.run(main, backend=backend)
    assert len(names_in(tmp_path / f"{backend}.db")) == 50
