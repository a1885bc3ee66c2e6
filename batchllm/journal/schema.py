"""The tables of a journal, their version, and how an older one becomes this one."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from batchllm.core import JournalError

__all__ = [
    "APPLICATION_ID",
    "SCHEMA_VERSION",
    "check_format",
    "create_tables",
    "is_empty",
    "is_journal",
    "migrate",
]

APPLICATION_ID: Final = 0x62_4C_4C_4D
"""``bLLM``, in the header of the file, so that every tool knows whose it is."""
_MAGIC: Final = b"SQLite format 3\0"
_ID_AT: Final = 68
"""Where SQLite keeps the number: https://www.sqlite.org/fileformat.html#application_id."""
_HEADER_BYTES: Final = _ID_AT + 4

_STEPS: Final[tuple[str, ...]] = ()
"""Additions to the format since its first version, as statements, one text a version.

A new journal is the first version with every step taken, as is an old one that is opened to be
written; so both are the same. A step that was released is never changed, and has no trigger, whose
semicolons would cut it. A reader takes none, and does without what an older file lacks.
"""

SCHEMA_VERSION: Final = 1 + len(_STEPS)
"""Raised with every step, so that an older batchllm refuses what it does not know."""

# `key` and `source` name an item. `own` says that its strategy was its own and not the run's.
# `pending` says that its post-processor has not been called to the end. `row_end` is the length of
# the output file up to its row: NULL without an output, 0 for a row that is still to be written.
_TABLES: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE driver (
    one INTEGER PRIMARY KEY CHECK (one = 1), token TEXT NOT NULL, host TEXT NOT NULL,
    boot TEXT NOT NULL, pid INTEGER NOT NULL, born TEXT NOT NULL, beat REAL NOT NULL
);
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, cause TEXT, reason TEXT,
    host TEXT NOT NULL, pid INTEGER NOT NULL, version TEXT NOT NULL,
    strategy INTEGER, config TEXT, inputs TEXT, counts TEXT
);
CREATE TABLE strategies (
    strategy INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, identity TEXT NOT NULL
);
CREATE TABLE items (
    item INTEGER PRIMARY KEY, source TEXT NOT NULL, key TEXT NOT NULL, prompt BLOB,
    strategy INTEGER NOT NULL, own INTEGER NOT NULL, state INTEGER NOT NULL,
    pending INTEGER NOT NULL, run INTEGER NOT NULL, position INTEGER NOT NULL,
    started REAL, finished REAL NOT NULL, cost REAL,
    input_tokens INTEGER, output_tokens INTEGER, row_end INTEGER, payload BLOB NOT NULL,
    UNIQUE (source, key)
);
CREATE INDEX items_by_state ON items (state, own, strategy);
CREATE INDEX items_without_row ON items (row_end) WHERE row_end = 0;
CREATE TABLE refused (
    place TEXT PRIMARY KEY, row BLOB NOT NULL, row_end INTEGER NOT NULL, run INTEGER NOT NULL
);
CREATE TABLE calls (
    call INTEGER PRIMARY KEY, run INTEGER NOT NULL, source TEXT NOT NULL, key TEXT NOT NULL,
    attempt INTEGER NOT NULL, started REAL NOT NULL, ended REAL, category TEXT, error TEXT,
    usage TEXT
);
CREATE INDEX calls_by_item ON calls (source, key);
CREATE INDEX calls_without_end ON calls (run) WHERE ended IS NULL;
CREATE TABLE quotas (
    scope TEXT PRIMARY KEY, rate REAL NOT NULL, age REAL NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE samples (
    run INTEGER NOT NULL, at REAL NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run, at)
) WITHOUT ROWID;
"""

# A result that takes the place of one whose row is in the output leaves that row behind: it is
# known here at no cost to any other commit, and the file is written anew when the run ends. (No
# OR REPLACE: within a trigger the conflict clause of the statement that fires it counts.)
_SUPERSEDED: Final = """
CREATE TRIGGER superseded AFTER UPDATE OF row_end ON items
WHEN old.row_end > 0 AND new.row_end = 0
BEGIN
    INSERT INTO facts (name, value) SELECT 'superseded', 1
    WHERE NOT EXISTS (SELECT 1 FROM facts WHERE name = 'superseded');
END
"""


def is_empty(connection: sqlite3.Connection) -> bool:
    """Return whether a database has nothing in it, as one whose making was cut short."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return tables == 0 and _number(connection, "application_id") == 0


def is_journal(path: Path) -> bool:
    """Return whether a file is a journal, of whatever version, by its header alone."""
    try:
        if not path.is_file():  # to open a pipe would wait for its other end
            return False
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except OSError:
        return False
    return head.startswith(_MAGIC) and head[_ID_AT:] == APPLICATION_ID.to_bytes(4, "big")


def create_tables(connection: sqlite3.Connection) -> None:
    """Make a journal of an empty database, within the transaction that is open.

    It has the format's first version; ``migrate`` makes it the present one.
    """
    _execute(connection, _TABLES)
    connection.execute(_SUPERSEDED)
    # Last, and in the same transaction: a file that says it is a journal has all its tables.
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a journal of an older version to this one, within the transaction that is open."""
    version = _number(connection, "user_version")
    for step in _STEPS[version - 1 :]:
        _execute(connection, step)
    if version < SCHEMA_VERSION:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _execute(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            connection.execute(statement)


def check_format(connection: sqlite3.Connection, path: str) -> None:
    """Pass if the database is a journal that this version reads.

    Raises:
        JournalError: It is another program's, or a newer batchllm's.
    """
    if _number(connection, "application_id") != APPLICATION_ID:
        msg = (
            f"{path} is a database of another program, which is left as it is; give another path "
            "for the journal"
        )
        raise JournalError(msg, problem="foreign", path=path)
    version = _number(connection, "user_version")
    if version > SCHEMA_VERSION:
        msg = (
            f"the journal {path} was written by a newer batchllm (its format is {version}, and "
            f"this one reads up to {SCHEMA_VERSION}): update batchllm, or give another path"
        )
        raise JournalError(msg, problem="newer", path=path)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    (number,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(number)
