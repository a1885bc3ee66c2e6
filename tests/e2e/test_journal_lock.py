"""A journal that another program holds: it is waited for, and the run says why it stands."""

import sqlite3
import threading
from pathlib import Path

import pytest

from batchllm.journal import Journal, connections, open_journal

pytestmark = pytest.mark.anyio


async def test_a_run_that_waits_for_another_program_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread of the journal waits; what it says is heard on the event loop."""
    monkeypatch.setattr(connections, "_BUSY_SECONDS", 0.05)
    settings, said = Journal(tmp_path / "run.db"), list[tuple[str, int]]()
    async with open_journal(settings, None, on_wait=pytest.fail):
        pass
    other = sqlite3.connect(settings.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def let_go(text: str) -> None:
        said.append((text, threading.get_ident()))
        other.execute("COMMIT")

    async with open_journal(settings, None, on_wait=let_go):
        pass
    other.close()
    [(text, thread)] = said
    assert "is locked by another program; waiting for up to 60 s" in text
    assert thread == threading.get_ident()
