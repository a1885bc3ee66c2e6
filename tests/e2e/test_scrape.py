"""A run that Prometheus scrapes over HTTP while it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import anyio
import anyio.to_thread
import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from batchllm import BatchRun, llm, run_batch
from batchllm.observers import PrometheusObserver
from batchllm.simulator import Simulator, parse_scenario, serve
from tests.e2e.patience import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture
def scraped() -> Iterator[tuple[CollectorRegistry, str]]:
    """Give a registry, and the address under which it is served."""
    registry = CollectorRegistry()
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    yield registry, f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


async def scrape(url: str) -> dict[str, float]:
    """Read all samples as a scraper does; those with labels have them behind their name."""

    def read() -> str:
        with urlopen(url, timeout=PATIENCE) as reply:
            text: str = reply.read().decode()
            return text

    families = text_string_to_metric_families(await anyio.to_thread.run_sync(read))
    samples = (sample for family in families for sample in family.samples)
    return {" ".join([one.name, *one.labels.values()]): one.value for one in samples}


async def test_a_scrape_shows_the_run_as_it_goes_on(scraped: Any) -> None:
    """Calls in flight half way, and at the end what the server counted itself."""
    registry, url = scraped
    simulator = Simulator(parse_scenario("default?faults=0.2&latency=0.02"), seed=1)
    observer, run, half_way = PrometheusObserver(registry), BatchRun[str](), anyio.Event()

    def on_progress(completed: int, total: int, item: str) -> None:
        if completed == 20:
            half_way.set()

    async with serve(simulator) as server, anyio.create_task_group() as tasks:
        model = llm("openai-compatible:m", base_url=f"{server.url}/v1", api_key="k")

        async def make() -> None:
            await run_batch(
                map(str, range(60)),
                model,
                concurrency=10,
                observers=[observer],
                progress_callback=on_progress,
                into=run,
            )

        tasks.start_soon(make)
        with anyio.fail_after(PATIENCE):
            await half_way.wait()
        early = await scrape(url)
    at_end, result = await scrape(url), run.result
    assert early["batchllm_items_total successful"] >= 15
    assert early["batchllm_batches_total"] == 1
    assert at_end["batchllm_calls_in_flight m openai-compatible"] == 0
    assert at_end["batchllm_items_total successful"] == result.succeeded
    assert at_end["batchllm_tokens_total input m openai-compatible"] == result.total_input_tokens
    calls = sum(n for name, n in at_end.items() if name.startswith("batchllm_calls_total"))
    assert calls == result.stats["calls_sent"]
