"""Giving back the disk: every result stays, what later results have replaced goes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchllm.core import JournalError
from batchllm.journal import Store, clean, open_reader, size_on_disk
from batchllm.journal.groups import CallBegun, CallFailed, Group
from tests.journal.kit import Faults
from tests.journal.test_store import begun, change, group_of, look, names_in


def two_runs(path: Path) -> None:
    """A failure with two failed calls, an answer to it by a later run, and a call cut off."""
    first = Group()
    for call in (1, 2, 3):
        first.begun[call] = CallBegun(call, ("", "=a"), call, 5.0)
    first.failed += [CallFailed(call, 6.0, "server_error", "no", None) for call in (1, 2)]
    store = begun(path)
    store.write(first)
    store.write(group_of("a", good=False))
    store.write(group_of("big", *map(str, range(400))))
    store.close()
    again, second = begun(path), group_of("a")
    second.failed.append(CallFailed(4, 7.0, "server_error", "no", None))
    second.begun[4] = CallBegun(4, ("", "=a"), 1, 7.0)
    again.write(second)
    again.close()


def calls_in(path: Path) -> list[int]:
    return [call for (call,) in look(path, "SELECT call FROM calls ORDER BY call")]


def test_what_was_replaced_goes_and_what_may_be_billed_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    two_runs(path)
    names = names_in(path)
    planned = clean(path, dry_run=True)
    assert calls_in(path) == [1, 2, 3, 4]
    done = clean(path)
    assert done.calls == planned.calls == 2
    assert calls_in(path) == [3, 4]  # 3 never ended; 4 is of the run of the present result
    assert names_in(path) == names
    assert Store(path).open("1", None, None).finished == len(names)


def test_pages_that_nothing_is_on_are_given_back(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    two_runs(path)
    change(path, "DELETE FROM items WHERE key <> '=a'")
    before = size_on_disk(path)
    planned, done = clean(path, dry_run=True), clean(path)
    assert before == planned.before == done.before
    assert done.after == size_on_disk(path) == path.stat().st_size
    assert done.freed == before - done.after > 0
    assert abs(planned.after - done.after) <= 8 * 4096
    assert clean(path).freed == 0


def test_of_deleted_rows_no_byte_is_left(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    two_runs(path)
    # Some builds of SQLite overwrite what they delete unless they are asked not to.
    change(path, "PRAGMA secure_delete = OFF", "DELETE FROM items WHERE key = '=big'")
    assert b"prompt of big" in path.read_bytes()
    clean(path)
    assert b"prompt of big" not in path.read_bytes()


def test_while_a_process_drives_the_journal_nothing_is_done(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    two_runs(path)
    driver = begun(path)
    for dry_run in (True, False):
        with pytest.raises(JournalError, match="in use") as caught:
            clean(path, dry_run=dry_run)
        assert caught.value.problem == "in_use"
    driver.write(group_of("later"))
    driver.close()
    assert calls_in(path) == [1, 2, 3, 4]
    assert "later" in names_in(path)


def test_while_it_is_cleaned_no_run_begins(tmp_path: Path) -> None:
    """Not even between two of its steps."""
    path, refused = tmp_path / "run.db", list[Any]()
    two_runs(path)

    def look_at(statement: str) -> bool:
        if statement == "VACUUM":
            with pytest.raises(JournalError, match="in use") as caught:
                begun(path)
            refused.append(caught.value.problem)
        return False

    clean(path, connect=Faults(counts=look_at).connect)
    assert refused == ["in_use"]
    begun(path).close()


def test_whichever_statement_fails_every_result_is_there(tmp_path: Path) -> None:
    """Fail the 1st, 2nd, 3rd … statement, a full disk under VACUUM among them."""
    n, problems = 0, set[str]()
    while True:
        n += 1
        path = tmp_path / f"{n}.db"
        two_runs(path)
        names, faults = names_in(path), Faults(n)
        try:
            clean(path, connect=faults.connect)
        except JournalError as error:
            problems.add(error.problem)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert names_in(path) == names
        if faults.seen < n:
            break
    assert n > 8
    assert problems == {"full"}


@pytest.mark.parametrize("problem", ["missing", "foreign"])
def test_what_is_no_journal_is_left_as_it_is(tmp_path: Path, problem: str) -> None:
    path = tmp_path / "run.db"
    if problem == "foreign":
        change(path, "CREATE TABLE notes (text)")
    with pytest.raises(JournalError) as caught:
        clean(path)
    assert caught.value.problem == problem


def test_a_reader_reads_on(tmp_path: Path) -> None:
    """One that is open meanwhile: it has the file that it began with, or the new one."""
    path = tmp_path / "run.db"
    two_runs(path)
    with open_reader(path) as reader:
        assert next(reader.rows()).result.item_id == "a"
        clean(path)
        assert {row.result.item_id for row in reader.rows()} == names_in(path)
