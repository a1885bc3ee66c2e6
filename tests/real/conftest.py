"""Servers that are started once and shared by the tests; a table of all runs at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.real.measure import Measured
from tests.real.process import FOLDER_VARIABLE, MissingServerError, Server
from tests.real.servers import ServerKind, started
from tests.real.table import HEADING, details_of, row_of

# They take minutes and need servers that are not ours, so an ordinary run does not know them.
collect_ignore_glob = [] if FOLDER_VARIABLE in os.environ else ["test_*.py"]

_ROW, _DETAILS = "row of the table", "what a user saw"


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
def add_run(record_property: Callable[[str, object], None]) -> Callable[[Measured], None]:
    """Give a function that adds a run to the table at the end, from any test process."""

    def add(measured: Measured) -> None:
        record_property(_ROW, row_of(measured))
        record_property(_DETAILS, details_of(measured))

    return add


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what a user saw of each run, then the table of all."""
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
    ]
    runs = [dict(report.user_properties) for report in reports]
    runs = [run for run in runs if _ROW in run]
    if runs:
        terminalreporter.section("runs against real servers")
        for run in runs:
            terminalreporter.write_line(f"{run[_ROW]}\n{run[_DETAILS]}")
        terminalreporter.write_line("\n".join(("", HEADING, *(run[_ROW] for run in runs))))
