"""``batchllm serve-sim``: a simulated provider behind real HTTP."""

from __future__ import annotations

import math
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.serving import cannot_listen, check_port, run_server, serve_until_signal
from batchllm.core import counted
from batchllm.simulator import Simulator, SimulatorLog, parse_scenario, serve

__all__ = ["serve_simulator"]

_DAY_ONE = 1_767_225_600.0
"""The first of January 2026, at which the calendar of a simulator begins."""
_KEPT = 100_000
"""Requests that the record keeps in memory."""


def serve_simulator(
    scenario: str, *, host: str, port: int, seed: int, log: Path | None, calendar: float
) -> ExitCode:
    """Answer like an LLM provider, over HTTP, until Ctrl-C.

    Args:
        scenario: What the provider is like.
        host: Where to listen.
        port: 0 takes one that is free.
        seed: Answers, delays and faults follow from it.
        log: A new file for a line of JSON per request.
        calendar: How many times faster than ours its calendar goes.

    Raises:
        UsageError: An argument is wrong, or the port is taken.
    """
    check_port(port)
    if log is not None and log.exists():
        msg = f"the log {log} exists already; give another name, or remove it"
        raise UsageError(msg)
    try:
        parsed = parse_scenario(scenario)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not 0 < calendar < math.inf:
        msg = f"--calendar is {calendar:g}; give a number above 0"
        raise UsageError(msg)
    started = time.monotonic()
    simulator = Simulator(
        parsed,
        seed=seed,
        log=SimulatorLog(log, keep=_KEPT),
        wall_clock=lambda: _DAY_ONE + calendar * (time.monotonic() - started),
    )
    run_server(partial(_serve, simulator, host, port))
    return ExitCode.OK


async def _serve(simulator: Simulator, host: str, port: int) -> None:
    try:
        async with serve(simulator, host, port) as server:
            await serve_until_signal(server.url)
            _say_what_was_done(simulator.stats())
    except* OSError as errors:
        raise cannot_listen(host, port, errors) from None


def _say_what_was_done(stats: dict[str, Any]) -> None:
    outcomes = ", ".join(f"{count:,} {name}" for name, count in sorted(stats["outcomes"].items()))
    requests = counted(stats["requests"], "request")
    print(f"{requests}: {outcomes}" if outcomes else requests, file=sys.stderr)
