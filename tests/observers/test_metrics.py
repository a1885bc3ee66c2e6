"""Numbers about batches."""

import json
import math
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batchllm.api import run_batch
from batchllm.core import ProcessingEvent, ProviderError, QuotaScope
from batchllm.observers import MetricsObserver
from batchllm.testing import Raise, ScriptedStrategy
from tests.observers.kit import run_one_of_each

pytestmark = pytest.mark.anyio

USAGE = {"input_tokens": 10, "output_tokens": 5}


async def watched() -> MetricsObserver:
    """The metrics of a batch with one of each ending."""
    metrics = MetricsObserver()
    await run_one_of_each(metrics, USAGE)
    return metrics


async def test_every_ending_is_counted() -> None:
    """Items by how they ended, retries, limits, tokens and times add up."""
    numbers = await (await watched()).get_metrics()
    expected = {
        "total_items": 5, "successful": 3, "failed": 1, "skipped": 1, "not_run": 0, "started": 4,
        "failures": {"bad_output": 1}, "retries": 1, "throttled_calls": 1, "rate_limits": 1,
        "batches": 1,
    }  # fmt: skip
    assert {name: numbers[name] for name in expected} == expected
    assert numbers["tokens"] == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    assert numbers["cooldown_seconds"] >= 5.0
    assert numbers["max_duration"] == 9.0
    assert numbers["p99_duration"] == pytest.approx(9.0, rel=0.02)
    assert 0 < numbers["avg_duration"] < 9.0
    assert numbers["batch_seconds"] >= 9.0


async def test_sums_go_on_over_several_batches() -> None:
    """One observer may watch one batch after the other."""
    metrics = MetricsObserver()
    for _ in range(2):
        await run_batch(["a", "b"], ScriptedStrategy(), observers=[metrics])
    numbers = metrics.snapshot()
    assert (numbers["batches"], numbers["successful"]) == (2, 4)


async def test_a_reset_begins_anew() -> None:
    """Numbers, text and quantiles are those of an observer that has seen nothing."""
    metrics = await watched()
    metrics.reset()
    assert metrics.snapshot() == MetricsObserver().snapshot()
    assert metrics.to_prometheus() == MetricsObserver().to_prometheus()
    await run_batch(["a"], ScriptedStrategy(), observers=[metrics])
    assert metrics.snapshot()["total_items"] == 1


async def test_parked_scopes_and_what_did_not_run() -> None:
    """A scope without quota is named, and its items count as not run, not as failed."""
    metrics = MetricsObserver()
    gone = ProviderError("empty", status=429, code="insufficient_quota")
    strategy = ScriptedStrategy(Raise(gone), scope=QuotaScope("poor"))
    await run_batch(map(str, range(9)), strategy, concurrency=1, observers=[metrics])
    numbers = metrics.snapshot()
    assert list(numbers["parked"]) == ["poor"]
    assert numbers["failures"] == {"insufficient_quota": 1}
    assert numbers["total_items"] == numbers["failed"] + numbers["not_run"]


async def test_json_can_be_read_back() -> None:
    """The JSON has all the numbers, and none that JSON has not."""
    metrics = await watched()
    by_the_run = metrics.snapshot()["quota_learned"].keys()  # depends on the order of its calls
    learned = {"scope": "a", "pace": 2.5, "low": 2.0, "high": math.inf}
    await metrics.on_event(ProcessingEvent.QUOTA_LEARNED, learned)
    numbers = json.loads(metrics.to_json(), parse_constant=pytest.fail)
    assert numbers == metrics.snapshot()
    assert numbers["quota_learned"]["a"] == {"pace": 2.5, "low": 2.0, "high": None}
    assert numbers["quota_learned"].keys() == {"a", *by_the_run}


async def test_what_a_run_learns_of_a_quota_is_counted() -> None:
    """Events as gates report them: a pace and a cap of one scope stand beside each other."""
    metrics = MetricsObserver()
    events = ({"pace": 2.5, "rate": 2.5}, {"calls": 7}, {"calls": None})
    for scope, learned in zip("aab", events, strict=True):
        data = {"timestamp": 1.0, "scope": scope, **learned}
        await metrics.on_event(ProcessingEvent.QUOTA_LEARNED, data)
    numbers = metrics.snapshot()["quota_learned"]
    assert numbers == {"a": {"pace": 2.5, "rate": 2.5, "calls": 7}, "b": {"calls": None}}
    assert [line for line in metrics.to_prometheus().splitlines() if "learned_pace{" in line] == [
        'batchllm_learned_pace{scope="a"} 2.5'
    ]


_SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="(\\[\\"n]|[^"\\\n])*"\})? (NaN|[0-9.e+-]+)')


async def test_prometheus_text_is_well_formed() -> None:
    """Every line is a comment or a sample, every family has its head before it, escapes hold."""
    metrics = await watched()
    odd = 'http://x "y"\\\n'
    for pace, scope in ((2.5, odd), (math.inf, "other")):
        learned = {"scope": scope, "pace": pace, "low": 2.0, "high": 3.0}
        await metrics.on_event(ProcessingEvent.QUOTA_LEARNED, learned)
    await metrics.on_event(ProcessingEvent.SCOPE_PARKED, {"scope": "s", "cause": "empty"})
    lines = metrics.to_prometheus("jobs").splitlines()
    heads = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    samples = [line for line in lines if not line.startswith("#")]
    assert all(_SAMPLE.fullmatch(line) for line in samples)
    for line in samples:
        name = re.split(r"[{ ]", line)[0]
        assert name in heads or re.sub("_(sum|count)$", "", name) in heads
    assert 'jobs_items_total{status="successful"} 3' in lines
    assert 'jobs_failures_total{category="bad_output"} 1' in lines
    assert 'jobs_learned_pace{scope="http://x \\"y\\"\\\\\\n"} 2.5' in lines
    assert 'jobs_parked_scope{scope="s"} 1' in lines
    assert "jobs_retries_total 1" in lines
    assert "jobs_item_duration_seconds_count 4" in lines


async def test_prometheus_reads_its_text() -> None:
    """The parser of its own client takes every line, and finds the counts."""
    families = text_string_to_metric_families((await watched()).to_prometheus())
    samples = {(one.name, *one.labels.values()): one.value for f in families for one in f.samples}
    assert samples["batchllm_items_total", "successful"] == 3
    assert samples["batchllm_item_duration_seconds_count",] == 4


def test_prometheus_text_without_a_batch() -> None:
    """Before anything happened there are no quantiles, and families by label have no samples."""
    text = MetricsObserver().to_prometheus()
    assert 'batchllm_item_duration_seconds{quantile="0.5"} NaN' in text
    assert "failures_total" not in text
