"""Each scenario keeps its bounds, in real time, on servers that are not ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.real.measure import Measured, complaints, measure
from tests.real.process import Server
from tests.real.scenarios import SCENARIOS, Backend, Scenario
from tests.real.servers import ServerKind

_STARTING = 150
"""Seconds that a test may take beside its run: the start and the end of its server."""


def _cases() -> list[Any]:
    return [
        pytest.param(
            scenario,
            backend,
            id=f"{scenario.name}-{backend}",
            marks=pytest.mark.timeout(2 * scenario.most_seconds + 10 + _STARTING),
        )
        for scenario in SCENARIOS.values()
        for backend in scenario.backends
    ]


@pytest.mark.parametrize(("scenario", "backend"), _cases())
def test_scenario_keeps_its_bounds(
    scenario: Scenario,
    backend: Backend,
    server_of: Callable[[ServerKind], Server],
    add_run: Callable[[Measured], None],
) -> None:
    """In time, nothing lost, hardly refused by the server's own count, and said to the user."""
    measured = measure(scenario, server_of(scenario.server), backend)
    add_run(measured)
    assert not complaints(measured)
