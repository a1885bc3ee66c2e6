"""The cost of a request on the client: ``python -m benchmarks.transport``.

CPU (user and system) per request through ``run_batch`` with ``llm("openai-compatible:…")``,
beside aiohttp, httpx, httpx2, the openai SDK and a hand-written protocol, each if it is installed.
The server is a process of its own; what it costs is printed, too. Replies take 100 ms, 300 ms with
1,000 or more in flight. All ways of a table take turns; a figure is the median of its rounds, and
a ratio compares with aiohttp on asyncio in the same table, also for uvloop and Trio.

"Whole" replies have a length and six headers, as a server of one's own sends them, "hosted" ones
are in a chunk with 25 headers, limits and cookies among them, as OpenAI's and others' behind a
content network. Streamed ones are read event by event.

"Warm" is the steady state: connections are open, and the gate has seen the load, as after the
first seconds of a long run. "Cold" is the run as a whole from its first request: the ramp of an
unknown quota, which lets few calls start at first, opening connections, and all.

The goals (asyncio, uvloop, Trio): 2.0, 1.7, 1.8 × aiohttp with h11; 1.6, 1.3, 1.5 × with
httptools; and no more than 1.2 × as much at 2,000 in flight as at 50. Hosted replies have none: no
peer reads the limits in them. The exit code is 1 if one is missed.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import anyio
from attrs import evolve, frozen

from benchmarks._chat_server import ChatServer, chat_server
from benchmarks._report import LOOPS, machine, table
from benchmarks._transport_ways import OURS, PEERS, Load, Way, parsers

_GOALS = {
    "h11": {"asyncio": 2.0, "uvloop": 1.7, "trio": 1.8},
    "httptools": {"asyncio": 1.6, "uvloop": 1.3, "trio": 1.5},
}
_GOALS["plain"] = _GOALS["h11"]  # it stands in for h11 where nothing else is installed
_FLAT = 1.2
_SLOW = ("httpx", "httpx2", "openai")
"""Peers that cost ten times as much: fewer requests, one round, and few in flight."""
_MOST_FOR_SLOW = 200
_MOST_WARMING = 12


@frozen(kw_only=True)
class Line:
    """One line of a table: a client on an event loop."""

    name: str
    way: Way
    loop: str
    parser: str = ""

    @property
    def is_ours(self) -> bool:
        """Return whether it is this library."""
        return bool(self.parser)

    @property
    def is_slow(self) -> bool:
        """Return whether it is measured once, with fewer requests and not beyond 200 in flight."""
        return self.name in _SLOW or self.parser == "httpx"

    @property
    def goal(self) -> float | None:
        """The most that it may cost, in units of aiohttp."""
        return _GOALS.get(self.parser, {}).get(self.loop)


def lines(loops: list[str], peers: list[str]) -> Iterator[Line]:
    """Yield what is measured here, aiohttp first, since it is what all are compared with."""
    for name in peers:
        package, way = PEERS[name]
        if importlib.util.find_spec(package) is not None:
            yield Line(name=name, way=way, loop="asyncio")
    for parser in parsers():
        for loop in loops:
            yield Line(name=f"run_batch, {parser}", way=OURS, loop=loop, parser=parser)


async def _measured(line: Line, load: Load, count: int, server: ChatServer) -> float:
    """Return seconds of CPU per request."""
    async with line.way(load) as ask:
        if not load.cold:
            await _warm_up(ask, load, server, 1 if line.is_slow else _MOST_WARMING)
        gc.collect()
        begun = time.process_time()
        right = await ask(count)
        used = time.process_time() - begun
    if right != count:
        msg = f"{line.name} on {line.loop}: {count - right} of {count} requests were not answered"
        raise AssertionError(msg)
    return used / count


async def _warm_up(ask: Any, load: Load, server: ChatServer, rounds: int) -> None:
    """Make requests until a round of them opens no connection.

    A handshake costs as much as several requests, and a gate at its start lets few calls through,
    so that one round of as many requests as may be in flight is not enough.
    """
    begun = server.stats()["connections"]
    before = begun
    for _ in range(rounds):
        await ask(2 * load.in_flight)
        opened = server.stats()["connections"] - 1  # but the one that asks for this
        if opened - before <= 1 and opened - begun >= 0.9 * load.in_flight:
            return
        before = opened


def measure(line: Line, load: Load, count: int, server: ChatServer) -> float:
    """Measure one line once, in milliseconds."""
    backend, options = LOOPS[line.loop]
    return 1e3 * anyio.run(
        _measured,
        line,
        evolve(load, parser=line.parser or "h11"),
        count,
        server,
        backend=backend,
        backend_options=options,
    )


def compare(
    all_lines: list[Line], load: Load, count: int, rounds: int, server: ChatServer
) -> dict[Line, float]:
    """Measure all lines in turns, and return their medians."""
    found: dict[Line, list[float]] = {
        line: [] for line in all_lines if load.in_flight <= _MOST_FOR_SLOW or not line.is_slow
    }
    for number in range(rounds):
        for line, values in found.items():
            if not line.is_slow:
                values.append(measure(line, load, count, server))
            elif number == 0:
                values.append(measure(line, load, max(count // 4, load.in_flight), server))
    return {line: median(values) for line, values in found.items()}


def report(what: str, found: dict[Line, float], *, has_goals: bool) -> list[str]:
    """Print a table, and return the goals that it misses."""
    base = next((cost for line, cost in found.items() if line.name == "aiohttp"), None)
    rows: list[tuple[object, ...]] = []
    missed: list[str] = []
    for line, cost in found.items():
        ratio = None if base is None else cost / base
        mark = ""
        goal = line.goal if has_goals else None
        if ratio is not None and goal is not None and ratio > goal:
            mark = "<- missed"
            missed.append(f"{what}: {line.name} on {line.loop} is {ratio:.2f} × aiohttp")
        wanted = "" if goal is None else f"{goal:g}"
        shown = "" if ratio is None else f"{ratio:.2f}"
        rows.append((line.name, line.loop, f"{cost:.3f}", shown, wanted, mark))
    print()
    print(table((what, "loop", "ms", "× aiohttp", "goal", ""), rows), flush=True)
    return missed


def flatness(found: dict[tuple[Line, str], dict[int, float]]) -> list[str]:
    """Print how the cost grows with the calls in flight, and return what grows too much."""
    rows: list[tuple[object, ...]] = []
    missed: list[str] = []
    for (line, what), costs in found.items():
        least, most = min(costs), max(costs)
        if least == most:
            continue
        growth = costs[most] / costs[least]
        mark = ""
        if line.is_ours and growth > _FLAT:
            mark = "<- missed"
            missed.append(f"{line.name} on {line.loop}, {what}: {growth:.2f} × from {least}")
        rows.append((f"{line.name}, {what}", line.loop, f"{least} → {most}", growth, mark))
    if rows:
        print()
        print(table(("growth (goal of ours: 1.2)", "loop", "in flight", "×", ""), rows))
    return missed


def cases(asked: argparse.Namespace, server: ChatServer) -> Iterator[tuple[str, Load]]:
    """Yield each table's title and load."""
    for tls in asked.tls:
        if tls == "tls" and not server.secure:
            print("no OpenSSL here: no figures over TLS")
            continue
        for way in asked.replies:
            for in_flight in asked.in_flight:
                delay = 0.3 if in_flight >= 1_000 else 0.1
                context = server.context() if tls == "tls" else None
                load = Load(
                    base_url=server.base_url(delay, tls=tls == "tls", hosted=way == "hosted"),
                    context=context,
                    in_flight=in_flight,
                    stream=way == "streamed",
                    reports_limits=way == "hosted",
                )
                yield f"{tls}, {way}", load


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="50 and 200 in flight, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, help="per figure; by default 4 × those in flight")
    parser.add_argument("--in-flight", type=int, nargs="*", default=[50, 200, 1_000, 2_000])
    parser.add_argument("--tls", nargs="*", choices=("plain", "tls"), default=["plain", "tls"])
    ways = ["whole", "hosted", "streamed"]
    parser.add_argument("--replies", nargs="*", choices=ways, default=ways)
    parser.add_argument("--loops", nargs="*", choices=tuple(LOOPS), default=list(LOOPS))
    parser.add_argument("--peers", nargs="*", choices=tuple(PEERS), default=list(PEERS))
    parser.add_argument("--start", nargs="*", choices=("warm", "cold"), default=["warm", "cold"])
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.in_flight = 1, [n for n in asked.in_flight if n <= _MOST_FOR_SLOW]
    if importlib.util.find_spec("uvloop") is None:
        asked.loops = [loop for loop in asked.loops if loop != "uvloop"]
    return asked


def main() -> int:
    """Print the tables; 1 if a goal is missed."""
    asked = arguments()
    all_lines = list(lines(asked.loops, asked.peers))
    missed: list[str] = []
    grown: dict[tuple[Line, str], dict[int, float]] = {}
    with chat_server() as server:
        print(f"{machine()}, load {os.getloadavg()[0]:.1f}; server in {server.kind}")
        print(f"our parsers here: {', '.join(parsers())}; medians of {asked.rounds} rounds")
        for start in asked.start:
            for what, load in cases(asked, server):
                if start == "cold" and (load.stream or load.context is not None):
                    continue  # the ramp is the same whatever is sent
                count = asked.requests or max(1_000, 4 * load.in_flight)
                load = evolve(load, cold=start == "cold")
                before = server.stats()
                found = compare(all_lines, load, count, asked.rounds, server)
                after = server.stats()
                title = f"{start}, {what}, {load.in_flight:,} in flight"
                off = report(title, found, has_goals=not load.reports_limits)
                cost = (after["cpu"] - before["cpu"]) / (after["requests"] - before["requests"])
                print(f"{count:,} requests a figure; the server took {cost * 1e3:.3f} ms each")
                if start == "warm":
                    missed += off
                    for line, took in found.items():
                        grown.setdefault((line, what), {})[load.in_flight] = took
    missed += flatness(grown)
    print()
    if missed:
        print("\n".join(("missed:", *missed)))
    elif any(line.goal is not None for line in all_lines):
        print("every goal is met")
    else:
        print("the connections are httpx's, for which there is no goal")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
