"""The package of prices is loaded in a worker thread before the first call, if it is needed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import (
    LLMCallStrategy,
    LLMWorkItem,
    Price,
    ProcessorConfig,
    QuotaScope,
    TokenUsage,
)
from batchllm.testing import Backend, run_inline, virtual_run
from batchllm.transport import runner_of_loop

BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")
DATA = "genai_prices.data_snapshot"


class Asked(LLMCallStrategy[str]):
    """Notes at each call whether the package is loaded by then."""

    def __init__(self, loaded: list[bool], provider: str = "openai") -> None:
        self._loaded = loaded
        self.quota_scope = QuotaScope(provider, "", "", "gpt-5-mini")

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: Any = None
    ) -> tuple[str, TokenUsage]:
        """Answer, with the tokens that it took."""
        self._loaded.append(DATA in sys.modules)
        await anyio.sleep(1.0)
        return "yes", {"input_tokens": 10, "output_tokens": 20}


@pytest.fixture
def _unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("genai_prices")
    for name in [name for name in sys.modules if name.split(".")[0] == "genai_prices"]:
        monkeypatch.delitem(sys.modules, name)


async def run_of(strategy: Asked, items: int, **config: Any) -> tuple[list[bool], Any]:
    """Return for each function that a thread was given whether it loaded the package."""
    threads = list[bool]()

    async def thread(function: Callable[[], Any], *, limiter: anyio.CapacityLimiter) -> Any:
        before = DATA in sys.modules
        value = await run_inline(function, limiter=limiter)
        threads.append(DATA in sys.modules and not before)
        return value

    runner_of_loop.set(thread)
    work: list[LLMWorkItem[Any, Any, Any]] = [
        LLMWorkItem(item_id=str(n), strategy=strategy, prompt="?") for n in range(items)
    ]
    return threads, await run_batch(work, config=ProcessorConfig(max_workers=9, **config))


@pytest.mark.usefixtures("_unloaded")
@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_loaded_once_in_a_thread_before_the_first_of_nine_calls(backend: Backend) -> None:
    """At the first answer it would block the event loop, while eight others wait."""
    loaded = list[bool]()
    threads, result = virtual_run(run_of, Asked(loaded), 9, backend=backend)
    assert threads == [True]
    assert loaded == [True] * 9
    assert result.succeeded == 9
    assert result.cost > 0


@pytest.mark.usefixtures("_unloaded")
@pytest.mark.parametrize("way", ["own server", "table", "strategy's own"])
def test_it_is_not_loaded_where_prices_are_given(way: str) -> None:
    """By the user's table or the strategy, or since nothing is billed."""
    loaded, price = list[bool](), Price(input=1.0, output=2.0)
    strategy = Asked(loaded, "sim" if way == "own server" else "openai")
    if way == "strategy's own":
        strategy.price = price
    prices = {"openai:*": price} if way == "table" else {}

    async def main() -> tuple[list[bool], Any]:
        return await run_of(strategy, 2, prices=prices)

    threads, _ = virtual_run(main)
    assert (threads, loaded) == ([], [False, False])
