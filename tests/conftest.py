"""Every async test runs on asyncio and on Trio, in virtual time: sleeps end at once."""

import gc
import os
import random
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio._core._run as trio_scheduler
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

from batchllm.testing import virtual_time

# Function-scoped fixtures are safe under @given here: the only one is the choice of the backend.
settings.register_profile(
    "batchllm",
    deadline=None,  # a bound on real time
    derandomize=True,  # the same examples everywhere, so that what passes once passes again
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# To look for more: pytest --hypothesis-profile=search
settings.register_profile(
    "search", settings.get_profile("batchllm"), derandomize=False, max_examples=2_000
)
# For another Python, on which the same examples show little that is new.
settings.register_profile("few", settings.get_profile("batchllm"), max_examples=20)
settings.load_profile("batchllm")

_MEMORY = Path("/dev/shm")
_ENOUGH = 1 << 30
"""Free bytes, twenty times what the suite keeps at once; containers often have 64 MiB there."""

_SDKS = "anthropic|openai|google|langchain|pydantic_ai|pandas|polars|pyarrow|opentelemetry|nbclient"
_IMPORTS_AN_SDK = re.compile(rf"(^\s*(import|from) |importorskip\(.)({_SDKS})", re.MULTILINE)


def pytest_configure() -> None:
    """Keep what the tests write in memory, where there is enough of it.

    Half of the suite's time went to waiting for the disk to confirm commits of journals. No test
    can see the difference: what a file holds after a process has died, the system's cache holds.
    """
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ENOUGH:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Let no garbage be looked for among the tests and their imports, now and later.

    They stay to the end, and each worker has them all: it took a third of the collection, and
    each time that all generations are looked through, a tenth of a second of the test it meets.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits for processes and sockets, and then with what imports SDKs.

    Each process of the suite begins with a stretch of neighbours, so one of them gets these. Waits
    cost nothing while other checks run beside. And SDKs take up to 3 s of CPU each to import, which
    every process spends that has one of their tests.
    """
    places: dict[Path, int] = {}
    for item in items:
        path = item.path
        if path not in places:
            is_real = "e2e" in path.parts
            imports = not is_real and _IMPORTS_AN_SDK.search(path.read_text(encoding="utf-8"))
            places[path] = 0 if is_real else 1 if imports else 2
    items.sort(key=lambda item: places[item.path])


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Give the backend with options of its own, since a virtual clock serves one run only."""
    return request.param, virtual_time(request.param)


class Seeded(random.Random):
    """A generator whose course is that of the test that runs, unless it is given a seed."""

    course = 0

    def __init__(self, x: Any = None) -> None:
        super().__init__(self.course if x is None else x)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Give every test a fixed course of chance, so that what passes once passes again.

    Jitter draws from generators without a seed, and Trio shuffles the tasks that are ready. Both
    follow the test's name and ``BATCHLLM_TEST_SEED`` here: a statistical bound is tried on other
    courses by another value of that variable.
    """
    name = f"{os.environ.get('BATCHLLM_TEST_SEED', '')}{item.nodeid}"
    Seeded.course = zlib.crc32(name.encode())
    trio_scheduler._r.seed(Seeded.course)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "Random", Seeded)
        return (yield)


@pytest.hookimpl(specname="pytest_runtest_protocol")
def pytest_report_what_counts(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Let a worker of xdist report each test once, unless its setup or teardown does not pass.

    A worker sends five messages for a test that passes, of which one says something: 0.9 ms of CPU
    on the two sides, and 14,000 tests. It leaves out what passes in collecting for the same reason.
    """
    if not hasattr(item.config, "workerinput"):
        return None
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True
