"""Metrics in a registry of Prometheus' own client."""

from __future__ import annotations

import sys
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from batchllm.api import open_pool, run_batch
from batchllm.core import ConfigError, ProcessingEvent
from batchllm.observers import PrometheusObserver
from batchllm.testing import Hang, ScriptedStrategy
from tests.observers.kit import run_one_of_each

pytestmark = pytest.mark.anyio

USAGE = {"input_tokens": 10, "output_tokens": 5, "cached_input_tokens": 0}
MODEL = {"provider": "common", "model": ""}


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"batchllm_{name}", labels)


async def test_every_ending_is_counted() -> None:
    """Items, calls, times and tokens, and what happened to the scope."""
    registry = CollectorRegistry()
    await run_one_of_each(PrometheusObserver(registry), USAGE)
    for status, count in {"successful": 3, "failed": 1, "skipped": 1}.items():
        assert value(registry, "items_total", status=status) == count
    assert value(registry, "failures_total", category="bad_output") == 1
    for outcome, count in {"answered": 3, "bad_output": 2, "rate_limit": 1}.items():
        assert value(registry, "calls_total", **MODEL, outcome=outcome) == count
    assert value(registry, "calls_in_flight", **MODEL) == 0
    assert value(registry, "call_duration_seconds_sum", **MODEL) == 9.0
    assert value(registry, "item_duration_seconds_count") == 4
    assert value(registry, "tokens_total", **MODEL, kind="input") == 20
    assert value(registry, "tokens_total", **MODEL, kind="cached_input") is None
    for name in ("retries", "throttled_calls", "rate_limits", "batches"):
        assert value(registry, f"{name}_total") == 1
    assert (value(registry, "cooldown_seconds_total") or 0) >= 5.0


async def test_calls_in_flight_are_seen_while_they_are() -> None:
    """Of all runs and pools that it watches together; a cancelled one is not left over."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    strategy = ScriptedStrategy(Hang())

    async def in_batch() -> None:
        await run_batch(["a", "b"], strategy, observers=[observer])

    async with (
        open_pool(strategy, observers=[observer]) as pool,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(in_batch)
        tasks.start_soon(pool.call, "c")
        await anyio.sleep(1)
        assert value(registry, "calls_in_flight", **MODEL) == 3
        tasks.cancel_scope.cancel()
    assert value(registry, "calls_in_flight", **MODEL) == 0
    assert value(registry, "calls_total", **MODEL, outcome="cancelled") == 3
    assert value(registry, "items_total", status="cancelled") == 3


async def test_what_is_learned_of_a_scope_is_a_gauge() -> None:
    """Its pace, and that it is parked."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    data: dict[str, Any] = {"scope": "s", "pace": 2.5}
    await observer.on_event(ProcessingEvent.QUOTA_LEARNED, data)
    await observer.on_event(ProcessingEvent.QUOTA_LEARNED, {"scope": "t", "calls": 3})
    await observer.on_event(ProcessingEvent.SCOPE_PARKED, {"scope": "s", "cause": "empty"})
    assert value(registry, "learned_pace", scope="s") == 2.5
    assert value(registry, "learned_pace", scope="t") is None
    assert value(registry, "parked_scope", scope="s") == 1


def test_a_registry_takes_one_observer() -> None:
    """A second one would count the same names; with a prefix of its own it is welcome."""
    registry = CollectorRegistry()
    PrometheusObserver(registry)
    with pytest.raises(ConfigError, match="make one PrometheusObserver for a registry"):
        PrometheusObserver(registry)
    PrometheusObserver(registry, prefix="other")


def test_without_the_library_the_line_that_installs_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the observer is made."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ImportError, match=r'pip install "batchllm\[prometheus\]"'):
        PrometheusObserver()
