"""One file, opened, refused, written and read again: real SQLite, real files."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchllm.core import JournalError
from batchllm.journal import Registrar, Store
from batchllm.journal.entries import committed
from batchllm.journal.groups import CallBegun, CallFailed, Group, Quota
from batchllm.journal.owner import BEAT_AT_MOST, SILENT_AFTER
from batchllm.journal.schema import APPLICATION_ID, SCHEMA_VERSION
from tests.journal.kit import Faults, Named, failure, ok


def begun(path: Path, **more: Any) -> Store:
    store = Store(path, **more)
    store.open("1", None, None)
    return store


def group_of(*names: str, salt: bytes = b"", good: bool = True) -> Group:
    group, registrar = Group(), Registrar(salt, Named())
    for index, name in enumerate(names):
        entry = registrar.enter(name, f"prompt of {name}", index)
        result = ok(name) if good else failure(name)
        row = committed(entry, result, now=5.0, pending=False, keep_inputs=True, row_end=None)
        group.commit(row, entry.identity.text, [])
    return group


def look(path: Path, query: str) -> list[Any]:
    """Look into the file as another program."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def change(path: Path, *statements: str) -> None:
    """Change the file as another program."""
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def names_in(path: Path) -> set[str]:
    return {key[1:] for (key,) in look(path, "SELECT key FROM items")}


def test_what_is_written_is_there(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    store = begun(path)
    store.write(group_of("a", "b"))
    assert names_in(path) == {"a", "b"}  # by another connection, while the run goes on
    store.close("done", "every item was processed", "{}")
    again = Store(path)
    opened = again.open("1", None, None)
    assert (opened.run, opened.finished) == (2, 2)
    assert set(again.known([("", "=a"), ("", "=c")])) == {("", "=a")}
    assert again.finished([("", "=a")])["", "=a"].position == 0
    again.close()
    assert look(path, "SELECT cause FROM runs ORDER BY run") == [("done",), (None,)]
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert not path.with_name("run.db-wal").exists()


def test_the_log_is_its_owners_alone(tmp_path: Path) -> None:
    store = begun(tmp_path / "run.db")
    store.write(group_of("a"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("run.db", "run.db-wal", "run.db-shm"), 0o600)
    store.close()


def test_the_file_itself_says_whose_it_is(tmp_path: Path) -> None:
    """From the beginning, and not only in its log: tools read the header."""
    store = begun(tmp_path / "run.db")
    head = (tmp_path / "run.db").read_bytes()[:100]
    assert head[:15] == b"SQLite format 3"
    assert int.from_bytes(head[68:72], "big") == APPLICATION_ID
    store.close()


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_how_sure_a_commit_is(tmp_path: Path, durability: Any) -> None:
    store = begun(tmp_path / "run.db", durability=durability)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2 if durability == "full" else 1,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_on_a_network_disk_there_is_no_shared_memory(tmp_path: Path) -> None:
    store = begun(tmp_path / "run.db", is_network=lambda path: True)
    store.write(group_of("a"))
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert not list(tmp_path.glob("*-shm"))
    with pytest.raises(JournalError, match="keeps it locked"):
        Store(
            tmp_path / "run.db",
            connect=lambda path: sqlite3.connect(path, timeout=0, isolation_level=None),
            lock_patience=0.0,
        ).open("1", None, None)
    store.close()
    assert names_in(tmp_path / "run.db") == {"a"}


# What is refused, and left as it was.


def other_program(path: Path) -> None:
    change(path, "CREATE TABLE notes (text)")


def other_application(path: Path) -> None:
    change(path, "PRAGMA application_id = 7")
    change(path, "CREATE TABLE notes (text)")


def newer(path: Path) -> None:
    begun(path).close()
    change(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def damaged(path: Path) -> None:
    store = begun(path)
    store.write(group_of(*map(str, range(500))))
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    store = begun(path)
    store.write(group_of(*map(str, range(500))))
    store.close()
    path.write_bytes(path.read_bytes()[:9_000])


@pytest.mark.parametrize(
    ("make", "problem", "advice"),
    [
        (lambda path: path.write_text("my thesis"), "foreign", "no journal but another kind"),
        (lambda path: path.write_bytes(os.urandom(9000)), "foreign", "give another path"),
        (other_program, "foreign", "database of another program"),
        (other_application, "foreign", "database of another program"),
        (newer, "newer", "newer batchllm .* update batchllm"),
        (damaged, "corrupt", "it is damaged, and nothing was changed"),
        (cut_off, "corrupt", "it is damaged, and nothing was changed"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_kept(
    tmp_path: Path, make: Any, problem: str, advice: str
) -> None:
    path = tmp_path / "run.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=advice) as caught:
        Store(path).open("1", None, None)
    assert (caught.value.problem, caught.value.path) == (problem, str(path))
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="its folder is missing") as caught:
        Store(tmp_path / "none" / "run.db").open("1", None, None)
    assert caught.value.problem == "read_only"


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="journal"):
        Store(tmp_path).open("1", None, None)


@pytest.mark.parametrize("size", [0, 1])
def test_an_empty_file_is_taken(tmp_path: Path, size: int) -> None:
    """As a process leaves it that is killed while it makes a journal."""
    path = tmp_path / "run.db"
    path.touch()
    if size:
        with sqlite3.connect(path) as db:
            db.execute("VACUUM")
        db.close()
    begun(path).close()


def test_a_journal_with_a_number_in_front_of_its_time_is_no_older_one(tmp_path: Path) -> None:
    newer(tmp_path / "run.db")
    with pytest.raises(JournalError, match=f"reads up to {SCHEMA_VERSION}"):
        Store(tmp_path / "run.db").open("1", None, None)


# Two drivers.


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    first = begun(path)
    with pytest.raises(JournalError, match="in use: it is open in this process") as caught:
        Store(path).open("1", None, None)
    assert caught.value.problem == "in_use"
    first.write(group_of("a"))
    first.close()
    begun(path).close()


def test_a_driver_that_was_taken_for_dead_writes_nothing_more(tmp_path: Path) -> None:
    """Its machine slept; another took over; it learns of that before it writes."""
    path = tmp_path / "run.db"
    first = begun(path)
    change(path, "UPDATE driver SET host = 'elsewhere', beat = 0")
    second = begun(path, wall_clock=lambda: SILENT_AFTER)
    with pytest.raises(JournalError, match="driven by another process now") as caught:
        first.write(group_of("a"))
    assert caught.value.problem == "in_use"
    first.abandon()
    second.write(group_of("b"))
    second.close()
    assert names_in(path) == {"b"}


def test_a_file_that_is_deleted_meanwhile_is_an_error(tmp_path: Path) -> None:
    """SQLite itself would go on, in a file that no one finds again."""
    path, now = tmp_path / "run.db", [0.0]
    store = begun(path, wall_clock=lambda: now[0])
    store.write(group_of("a"))
    for one in tmp_path.iterdir():
        one.unlink()
    now[0] += BEAT_AT_MOST
    with pytest.raises(JournalError, match="was deleted or moved while") as caught:
        store.write(group_of("b"))
    assert caught.value.problem == "missing"
    store.abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("network", [False, True])
def test_a_file_that_another_took_the_place_of_is_deleted_too(
    tmp_path: Path, network: bool
) -> None:
    """As by `rm` and a run that is started anew; a disk in the network may number files anew."""
    path, now = tmp_path / "run.db", [0.0]
    store = begun(path, wall_clock=lambda: now[0], is_network=lambda path: network)
    store.write(group_of("a"))
    for one in tmp_path.iterdir():
        one.rename(one.with_name(f"old{one.name}"))
    second = begun(path, wall_clock=lambda: now[0])
    now[0] += BEAT_AT_MOST
    if network:
        store.write(group_of("b"))
    else:
        with pytest.raises(JournalError, match="was deleted or moved while"):
            store.write(group_of("b"))
    store.abandon()
    second.write(group_of("c"))
    second.close()
    assert names_in(path) == {"c"}


def test_a_driver_on_another_machine_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    begun(path)._drop()  # as if killed: its row stays
    change(path, "UPDATE driver SET host = 'elsewhere', beat = 100.0")
    with pytest.raises(JournalError, match=r"on elsewhere writes it .last sign of life 59 s ago"):
        begun(path, wall_clock=lambda: 159.0)
    begun(path, wall_clock=lambda: 160.0).close()


# Calls, and what may be billed.


def test_calls_that_never_ended_are_known_next_time(tmp_path: Path) -> None:
    path, group = tmp_path / "run.db", Group()
    for call, name in enumerate("abc", 1):
        group.begun[call] = CallBegun(call, ("", f"={name}"), 1, 5.0)
    group.failed.append(CallFailed(2, 6.0, "server_error", "no", '{"input_tokens":3}'))
    store = begun(path)
    store.write(group)
    store.close()
    again = Store(path)
    opened = again.open("1", None, None)
    assert opened.maybe_billed == {("", "=a"), ("", "=c")}
    assert opened.next_call == 4
    answered = group_of("a")
    answered.answered.append(1)
    again.write(answered)
    again.close()
    rows = look(path, "SELECT call, category, usage FROM calls ORDER BY call")
    assert rows == [(2, "server_error", '{"input_tokens":3}'), (3, None, None)]


def test_a_call_that_begins_and_ends_within_a_group_leaves_nothing() -> None:
    group = Group()
    group.begun[1] = CallBegun(1, ("", "=a"), 1, 5.0)
    (row,) = group_of("a").results
    group.commit(row, "{}", [1])
    assert not group.begun
    assert not group.answered


def test_what_was_learned_grows_old(tmp_path: Path) -> None:
    """As ages, so that a clock that was set back makes nothing younger."""
    path, group = tmp_path / "run.db", Group()
    group.quotas["openai/gpt"] = Quota("openai/gpt", 8.0, 30.0)
    store = begun(path, wall_clock=lambda: 1_000.0)
    store.write(group)
    store.close()
    later = Store(path, wall_clock=lambda: 1_600.0)
    assert later.open("1", None, None).quotas == {"openai/gpt": (8.0, 630.0)}
    later.close()
    before = Store(path, wall_clock=lambda: 10.0)
    assert before.open("1", None, None).quotas == {"openai/gpt": (8.0, 30.0)}
    before.close()


# Faults of the disk.

WRITES = ("INSERT", "UPDATE", "COMMIT", "BEGIN")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("SQLITE_FULL", "full"),
        ("SQLITE_IOERR_WRITE", "io"),
        ("SQLITE_IOERR_FSYNC", "io"),
        ("SQLITE_READONLY_DIRECTORY", "read_only"),
        ("SQLITE_CORRUPT", "corrupt"),
    ],
)
def test_each_statement_may_fail_and_nothing_is_half_written(
    tmp_path: Path, name: str, problem: str
) -> None:
    """Fail the 1st, 2nd, 3rd … statement of opening and writing; what was there is there."""
    path = tmp_path / "run.db"
    store = begun(path)
    store.write(group_of("old"))
    store.close()
    n, done = 0, False
    problems: set[str] = set()
    while not done:
        n += 1
        faults = Faults(n, name, lambda statement: statement.split()[0].strip() in WRITES)
        store = Store(path, connect=faults.connect)
        try:
            store.open("1", None, None)
            store.write(group_of("x", "y"))
            store.close()
            done = True
        except JournalError as error:
            problems.add(error.problem)
            store.abandon()
            there = names_in(path)
            assert there in ({"old"}, {"old", "x", "y"})
            assert look(path, "PRAGMA integrity_check") == [("ok",)]
            # All three are there if only closing has failed.
            change(path, "DELETE FROM items WHERE key <> '=old'", "DELETE FROM driver")
    assert n > 8
    assert problems == {problem}
    assert names_in(path) == {"old", "x", "y"}


@pytest.mark.parametrize("name", ["half a pair \ud800", 2**63])
def test_a_value_that_no_column_holds_locks_nothing(tmp_path: Path, name: Any) -> None:
    """It should not come so far; if it does, it is said, and the file serves the next run."""
    path = tmp_path / "run.db"
    store = begun(path)
    store.write(group_of("old"))
    group = group_of("x", "y")
    group.facts["a fact"] = name
    with pytest.raises(JournalError, match="a value cannot be written") as caught:
        store.write(group)
    assert caught.value.problem == "unserialisable"
    store.abandon()
    store = begun(path)
    store.write(group_of("z"))
    store.close()
    assert names_in(path) == {"old", "z"}


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """SQLite's own error, by a limit on the pages of the file."""
    path = tmp_path / "run.db"
    store = begun(path)
    store.write(group_of("a"))
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match="its disk is full: free some space") as caught:
        store.write(group_of(*map(str, range(3_000))))
    assert caught.value.problem == "full"
    store.abandon()
    assert names_in(path) == {"a"}
    store = begun(path)
    store.write(group_of("b"))
    store.close()
    assert names_in(path) == {"a", "b"}


def test_a_lock_of_another_program_is_waited_for_and_said(tmp_path: Path) -> None:
    path, said = tmp_path / "run.db", []
    store = Store(
        path,
        connect=lambda path: sqlite3.connect(path, timeout=0, isolation_level=None),
        on_wait=said.append,
        lock_patience=0.05,
    )
    store.open("1", None, None)
    browser = sqlite3.connect(path, isolation_level=None)
    browser.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="another program keeps it locked") as caught:
        store.write(group_of("a"))
    assert caught.value.problem == "locked"
    assert len(said) == 1
    browser.execute("COMMIT")
    store.write(group_of("a"))
    browser.close()
    store.close()


def test_a_lock_that_ends_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    browser: list[sqlite3.Connection] = []

    def let_go(text: str) -> None:
        browser[0].execute("COMMIT")

    store = Store(
        path,
        connect=lambda path: sqlite3.connect(path, timeout=0, isolation_level=None),
        on_wait=let_go,
    )
    store.open("1", None, None)
    browser.append(sqlite3.connect(path, isolation_level=None))
    browser[0].execute("BEGIN IMMEDIATE")
    store.write(group_of("a"))
    store.close()
    browser[0].close()
    assert names_in(path) == {"a"}


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_a_log_that_is_cut_anywhere_loses_whole_groups_only(
    tmp_path: Path, durability: Any
) -> None:
    """As a loss of power leaves it: a torn end is dropped, and what remains is whole."""
    path = tmp_path / "run.db"
    store = begun(path, durability=durability)
    for n in range(6):
        store.write(group_of(*(f"{n}.{k}" for k in range(3))))
    log = path.with_name("run.db-wal").read_bytes()
    main = path.read_bytes()
    store.abandon()
    seen = set()
    for cut in range(0, len(log), 512 * 3):
        copy = tmp_path / f"{cut}.db"
        copy.write_bytes(main)
        copy.with_name(f"{cut}.db-wal").write_bytes(log[:cut])
        assert look(copy, "PRAGMA integrity_check") == [("ok",)]
        names = names_in(copy)
        groups = {name.split(".")[0] for name in names}
        assert len(names) == 3 * len(groups)
        assert groups == {str(n) for n in range(len(groups))}  # always the first so many
        seen.add(len(groups))
        for left in tmp_path.glob(f"{cut}.db*"):
            left.unlink()
    assert len(seen) > 4
