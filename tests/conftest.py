"""Every async test runs on asyncio and on Trio, in virtual time: sleeps end at once."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from batchllm.testing import virtual_time

# Function-scoped fixtures are safe under @given here: the only one is the choice of the backend.
settings.register_profile(
    "batchllm",
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("batchllm")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Give the backend with options of its own, since a virtual clock serves one run only."""
    return request.param, virtual_time(request.param)
