"""One strategy on several event loops at once: what is shared holds, what cannot be is named."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest

from batchllm import (
    AsyncioBridge,
    Balance,
    GeminiCachedModel,
    HttpTransport,
    OpenAIStrategy,
    PydanticAIStrategy,
    ResponseCache,
    call,
    from_callable,
    open_pool,
    run_batch,
)
from batchllm.core import CallCost, Reply, StrategyError
from batchllm.llm_strategies.cache import _Recent
from batchllm.policy import LeaseRequest, Limit, Quota
from batchllm.shared import SqliteLeases
from batchllm.simulator import Simulator, serve
from batchllm.transport import OneLoopOfSdk
from tests.e2e.patience import PATIENCE

MOCK = httpx.MockTransport(lambda request: httpx.Response(200))
BACKENDS = ("asyncio", "trio", "asyncio", "trio")


def on_loops(work: Callable[[int], Any], backends: tuple[str, ...] = BACKENDS) -> None:
    """Run ``work(number)`` on an event loop of its own for each of *backends*, all at once."""
    together, errors = threading.Barrier(len(backends)), list[BaseException]()

    def run(number: int, backend: str) -> None:
        async def main() -> None:
            with anyio.fail_after(PATIENCE):
                await work(number)

        together.wait(PATIENCE)
        try:
            anyio.run(main, backend=backend)
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(number, backend))
        for number, backend in enumerate(backends)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []


async def answer(prompt: str) -> str:
    await anyio.sleep(0.001)
    return prompt.upper()


def test_a_cache_loses_no_answer_and_no_count() -> None:
    """Each loop asks for a prompt at most once; whatever any of them has is a hit for all."""
    cache = ResponseCache(from_callable(answer))
    prompts = [f"p{n % 20}" for n in range(200)]

    async def work(number: int) -> None:
        result = await run_batch(prompts, cache, concurrency=20)
        assert result.outputs == [prompt.upper() for prompt in prompts]

    on_loops(work)
    assert cache.hits + cache.misses == 200 * len(BACKENDS)
    assert 20 <= cache.misses <= 20 * len(BACKENDS)


def test_the_recent_answers_under_many_threads() -> None:
    """Looking one up while another thread drops it is no error."""
    recent, reply, errors = _Recent(2), Reply("x", None, None), list[BaseException]()

    def work(number: int) -> None:
        try:
            for n in range(5_000):
                recent[str((n + number) % 5)] = reply
                recent.get(str(n % 5))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (errors, len(recent)) == ([], 2)


def test_a_balance_forgets_no_call() -> None:
    """All calls that were counted in are counted out, on whichever loop they ran."""
    parts = [from_callable(answer) for _ in range(3)]
    balance = Balance(parts)

    async def work(number: int) -> None:
        result = await run_batch([f"p{n}" for n in range(200)], balance, concurrency=20)
        assert result.succeeded == 200

    on_loops(work)
    assert balance._busy == [0, 0, 0]


class Agent:
    """An agent that only works on asyncio."""

    async def run(self, prompt: str) -> Any:
        await asyncio.sleep(0.001)
        return SimpleNamespace(output=prompt.upper(), usage=None)


@pytest.mark.parametrize("own", [True, False])
def test_a_bridge_serves_several_loops(own: bool) -> None:
    """One asyncio loop for all that need it; it ends with the last of them."""
    strategy = PydanticAIStrategy(Agent(), bridge=True if own else AsyncioBridge())

    async def work(number: int) -> None:
        for _ in range(3):
            result = await run_batch([f"p{n}" for n in range(20)], strategy, concurrency=10)
            assert result.succeeded == 20, result.summary()

    on_loops(work, ("trio", "trio", "asyncio", "trio"))
    assert "batchllm asyncio" not in [thread.name for thread in threading.enumerate()]


class Caches:
    """Google's ``aio.caches``, which counts the requests."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.there: dict[str, Any] = {}

    async def list(self) -> Any:
        self.requests.append("list")
        there = [*self.there.values()]

        async def pages() -> Any:
            for one in there:
                yield one

        return pages()

    async def create(self, *, model: str, config: Any) -> Any:
        await anyio.sleep(0.01)
        self.requests.append("create")
        name = f"cachedContents/{len(self.requests)}"
        cache = SimpleNamespace(name=name, model=model, display_name=config["display_name"])
        self.there[name] = cache
        return cache

    async def update(self, *, name: str, config: Any) -> Any:
        self.requests.append("update")
        return self.there[name]

    async def delete(self, *, name: str) -> None:
        await anyio.sleep(0.01)
        self.requests.append("delete")
        del self.there[name]


def test_a_context_cache_is_made_and_deleted_once() -> None:
    """However many loops use it at once: it is paid for."""
    caches = Caches()
    models = SimpleNamespace(generate_content=None)
    client = SimpleNamespace(aio=SimpleNamespace(models=models, caches=caches))
    model = GeminiCachedModel("gemini-x", client, "a long text", delete_on_cleanup=True)
    all_there = threading.Barrier(len(BACKENDS))

    async def work(number: int) -> None:
        await model.prepare()
        await anyio.to_thread.run_sync(all_there.wait, PATIENCE)
        await model.cleanup()

    on_loops(work)
    assert caches.requests.count("create") == 1
    assert caches.requests.count("delete") == 1


@contextmanager
def server() -> Iterator[str]:
    """Serve the simulator from a thread; gives its address."""
    ready, leave, urls = threading.Event(), threading.Event(), list[str]()

    async def main() -> None:
        async with serve(Simulator("instant")) as running:
            urls.append(running.url)
            ready.set()
            await anyio.to_thread.run_sync(leave.wait, PATIENCE)

    thread = threading.Thread(target=anyio.run, args=(main,))
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield urls[0]
    finally:
        leave.set()
        thread.join(PATIENCE)


def test_a_client_of_openai_is_refused_on_a_second_loop() -> None:
    """By name, while the first one runs."""
    import openai  # not where each process pays for it that collects the tests

    with server() as url:
        client = openai.AsyncOpenAI(api_key="k", base_url=url + "/v1")
        strategy = OpenAIStrategy(client, "m")

        async def first() -> None:
            async with open_pool(strategy) as pool:
                await pool.call("a")

                def elsewhere() -> None:
                    (result,) = anyio.run(lambda: run_batch(["b"], strategy))
                    assert result.error_category == "program_error"
                    assert "the client is an openai.AsyncOpenAI" in str(result.error)
                    assert "HttpTransport().client()" in str(result.error)

                await anyio.to_thread.run_sync(elsewhere)
                await pool.call("c")
            await client.close()

        anyio.run(first)


def test_a_client_of_an_sdk_may_serve_one_loop_after_the_other() -> None:
    """As in a script that calls ``run_batch_sync`` twice, or ``anyio.run``."""
    bound = OneLoopOfSdk(SimpleNamespace(_client=httpx.AsyncClient()))
    free = OneLoopOfSdk(SimpleNamespace(_client=httpx.AsyncClient(transport=MOCK)))

    async def check() -> None:
        bound.check()
        free.check()

        async def elsewhere() -> None:
            free.check()
            with pytest.raises(StrategyError, match=r"the client is an types\.SimpleNamespace"):
                bound.check()

        await anyio.to_thread.run_sync(anyio.run, elsewhere)

    for backend in BACKENDS:
        anyio.run(check, backend=backend)


def test_a_client_of_openai_over_our_connections_serves_them_all() -> None:
    """As the message says."""
    import openai

    with server() as url:
        http = HttpTransport()
        client = openai.AsyncOpenAI(
            api_key="k", base_url=url + "/v1", http_client=http.client("httpx2")
        )
        strategy = OpenAIStrategy(client, "m")

        async def work(number: int) -> None:
            async with http:
                result = await run_batch([f"p{n}" for n in range(20)], strategy, concurrency=5)
                assert result.succeeded == 20, result.summary()
            assert await call("x", from_callable(answer)) == "X"

        on_loops(work)


def test_a_file_of_leases_serves_several_loops(tmp_path: Path) -> None:
    """At once and one after the other, on whichever backend: each slot is booked once."""
    store = SqliteLeases(tmp_path / "a.gate")
    day, minute = Limit("requests", 50, per=86_400.0), Limit("requests", 600_000)
    quota = Quota(limits=(day, minute), hold=0.25)
    booked = list[int]()

    async def use(loop: int) -> None:
        async def ask(task: int) -> None:
            for number in range(1, 11):
                request = LeaseRequest(
                    worker=f"{loop} {task}", number=number, quota=quota, costs=(CallCost(),) * 2
                )
                lease = await store.lease(request)
                assert lease.number == number
                booked.append(len(lease.opens))

        async with anyio.create_task_group() as group:
            group.start_soon(ask, 1)
            group.start_soon(ask, 2)

    on_loops(use)
    for backend in ("trio", "asyncio"):
        anyio.run(use, 5 + len(booked), backend=backend)
    anyio.run(store.aclose)
    assert sum(booked) == 50
