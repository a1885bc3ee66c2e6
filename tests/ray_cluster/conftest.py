"""A cluster of Ray on this machine, which only ``nox -s ray`` has."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from batchllm.simulator import Simulator, SimulatorServer, parse_scenario, serve

# An ordinary run does not know these tests; `nox -s ray` sets it.
VARIABLE = "BATCHLLM_RAY"
collect_ignore_glob = [] if VARIABLE in os.environ else ["test_*.py"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def cluster() -> Generator[Any]:
    """Start Ray with four CPUs, reachable from this machine only."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"
    # Where its processes find the package that is tested, and how their warnings are shown.
    os.environ["PYTHONPATH"] = str(ROOT)
    import ray
    import ray.data

    ray.init(num_cpus=4, include_dashboard=False, _node_ip_address="127.0.0.1")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


@contextmanager
def simulated(scenario: str) -> Iterator[SimulatorServer]:
    """Serve a simulated provider over sockets, on an event loop in a thread of its own."""
    simulator = Simulator(parse_scenario(scenario), seed=1, clock=time.monotonic)
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(serve(simulator)) as server,
    ):
        yield server


def pids_of(actor: str) -> list[int]:
    """Return the processes of the actors of a class, the oldest first."""
    found = list[tuple[float, int]]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            born = (folder / "stat").stat().st_mtime
        except OSError:
            continue
        if command.startswith(f"ray::{actor}".encode()):
            found.append((born, int(folder.name)))
    return [pid for _, pid in sorted(found)]


def kill(actor: str) -> int:
    """End the first process of the actors of a class by SIGKILL, and return its number."""
    pid = pids_of(actor)[0]
    os.kill(pid, signal.SIGKILL)
    return pid


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that another thread or process does."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it has not come to that"
        time.sleep(0.05)
