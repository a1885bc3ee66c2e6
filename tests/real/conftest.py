"""Servers that are started once and shared by the tests; a table of all runs at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.real.process import FOLDER_VARIABLE, MissingServerError, Server
from tests.real.servers import ServerKind, started

# They take minutes and need servers that are not ours, so an ordinary run does not know them.
collect_ignore_glob = [] if FOLDER_VARIABLE in os.environ else ["test_*.py"]

_ROW = "row of the table"


@pytest.fixture(scope="session")
def server_of(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Callable[[ServerKind], Server]]:
    """Give the running server of a kind; skip the test if that is not installed."""
    servers: dict[ServerKind, Server] = {}
    with ExitStack() as ends:

        def give(kind: ServerKind) -> Server:
            if kind not in servers:
                folder: Path = tmp_path_factory.mktemp("server")
                try:
                    servers[kind] = ends.enter_context(started(kind, folder))
                except MissingServerError as error:
                    pytest.skip(str(error))
            return servers[kind]

        yield give


@pytest.fixture
def add_row(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Give a function that adds a line to the table at the end, from any test process."""
    return lambda line: record_property(_ROW, line)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of all runs."""
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
    ]
    rows = [text for report in reports for name, text in report.user_properties if name == _ROW]
    if rows:
        terminalreporter.section("runs against real servers")
        for line in rows:
            terminalreporter.write_line(line)
