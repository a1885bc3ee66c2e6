"""The meaning of SQLite's errors, as sentences with advice."""

from __future__ import annotations

import errno
import sqlite3
import zlib
from typing import Final

from batchllm.core import JournalError, JournalProblem

__all__ = ["DAMAGED", "is_busy", "journal_error"]

DAMAGED: Final = (ValueError, zlib.error)
"""The errors of reading a value whose bytes are not those that were written: no UTF-8, no JSON."""

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR})

_BY_NAME: Final[tuple[tuple[str, JournalProblem], ...]] = (
    ("SQLITE_FULL", "full"),
    ("SQLITE_READONLY", "read_only"),
    ("SQLITE_PERM", "read_only"),
    ("SQLITE_CANTOPEN", "read_only"),
    ("SQLITE_CORRUPT", "corrupt"),
    ("SQLITE_NOTADB", "foreign"),
    ("SQLITE_BUSY", "locked"),
    ("SQLITE_LOCKED", "locked"),
)

_ADVICE: Final[dict[JournalProblem, str]] = {
    "full": "its disk is full: free some space, then run the same again; what was finished is kept",
    "read_only": (
        "it cannot be opened for writing: its folder is missing, or file, folder or disk are "
        "read-only; change that, or put the journal elsewhere"
    ),
    "corrupt": (
        "it is damaged, and nothing was changed in it: bring it back from a copy, or save what "
        "can be read by `sqlite3 FILE .recover`, or start anew with another file"
    ),
    "foreign": "it is no journal but another kind of file, left as it is: give another path",
    "locked": (
        "another program keeps it locked: end that program (a database browser, a backup), then "
        "run the same again; if there is none, its disk may have no locks: put it on another one"
    ),
    "io": (
        "the disk failed: look at the system's log, then run the same again; what was finished "
        "is kept"
    ),
}


def journal_error(error: Exception, path: str) -> JournalError:
    """Say what *error* means for the journal at *path*, with the cause chained."""
    problem = _problem_of(error)
    said = error.strerror if isinstance(error, OSError) else str(error)
    failure = JournalError(
        f"the journal {path}: {_ADVICE[problem]} ({said})", problem=problem, path=path
    )
    failure.__cause__ = error
    return failure


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether *error* says that another connection holds a lock."""
    return _problem_of(error) == "locked"


def _problem_of(error: Exception) -> JournalProblem:
    if not isinstance(error, sqlite3.Error | OSError):
        return "corrupt"
    if isinstance(error, OSError):
        if error.errno in _NO_SPACE:
            return "full"
        return "read_only" if error.errno in _REFUSED else "io"
    name = getattr(error, "sqlite_errorname", None) or ""
    for prefix, problem in _BY_NAME:
        if name.startswith(prefix):
            return problem
    return "io"
