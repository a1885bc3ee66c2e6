"""Runs scenarios against real servers: ``python -m tests.real [-v] [--loop trio] [NAME ...]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path

from tests.real.measure import complaints, measure
from tests.real.process import MissingServerError, Server
from tests.real.scenarios import SCENARIOS, Scenario
from tests.real.servers import ServerKind, started
from tests.real.table import HEADING, details_of, row_of


def main() -> int:
    """Run what is asked for; return 1 if a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.real")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a scenario, or a pattern such as 'mock-*'"
    )
    parser.add_argument("--loop", choices=("asyncio", "trio"), help="instead of the scenario's own")
    parser.add_argument("-v", "--verbose", action="store_true", help="the whole log, and the gates")
    parser.add_argument("--list", action="store_true", help="only list the scenarios")
    options = parser.parse_args()
    chosen = _chosen(options.names)
    if options.list or not chosen:
        print(*SCENARIOS, sep="\n")
        return 0 if options.list else 2
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        servers: dict[ServerKind, Server] = {}
        rows: list[str] = []
        broken = False
        for scenario in chosen:
            if scenario.server not in servers:
                place = Path(tempfile.mkdtemp(dir=folder))
                try:
                    servers[scenario.server] = ends.enter_context(started(scenario.server, place))
                except MissingServerError as error:
                    print(f"{scenario.name} is left out: {error}")
                    continue
            for backend in [options.loop] if options.loop else scenario.backends:
                measured = measure(scenario, servers[scenario.server], backend)
                print(HEADING, row_of(measured), sep="\n")
                print(details_of(measured, whole=options.verbose), flush=True)
                rows.append(row_of(measured))
                broken = broken or bool(complaints(measured))
    print("", HEADING, *rows, sep="\n")
    return int(broken)


def _chosen(names: Sequence[str]) -> list[Scenario]:
    wanted = names or ["*"]
    return [one for name, one in SCENARIOS.items() if any(fnmatch(name, to) for to in wanted)]


if __name__ == "__main__":
    sys.exit(main())
