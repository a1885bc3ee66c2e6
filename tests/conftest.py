"""Every async test runs on asyncio and on Trio, in virtual time: sleeps end at once."""

from typing import Any

import pytest
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
settings.load_profile("batchllm")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Give the backend with options of its own, since a virtual clock serves one run only."""
    return request.param, virtual_time(request.param)
