"""Tests with real sockets, processes and files run in real time, on each event loop there is."""

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.forked import SERVER

_BACKENDS = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@pytest.fixture(params=list(_BACKENDS))
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Give the backend in real time; uvloop is an extra, so it may be missing."""
    if request.param == "uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    return _BACKENDS[request.param]


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> Iterator[None]:
    """End the process that others were forked from, if there was one."""
    yield
    SERVER.close()
