"""One strategy in many threads, event loops and processes, with every warning an error."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

_PRELUDE = """
import logging, os, sys, threading
import anyio
from batchllm import ProcessorConfig, llm, run_batch, run_batch_sync

logging.getLogger("asyncio").setLevel(logging.ERROR)  # a slow turn on a busy machine is no fault
URL = sys.argv[1]
STRATEGY = llm("openai-compatible:m", base_url=URL, api_key="k")
CONFIG = ProcessorConfig(max_workers=8, timeout_per_item=20)
TABLE = STRATEGY.model._client._given._pools

def answers(kind, names, strategy=STRATEGY):
    if kind == "sync":
        result = run_batch_sync(names, strategy, config=CONFIG)
    else:
        result = anyio.run(lambda: run_batch(names, strategy, config=CONFIG), backend=kind)
    assert [one.output for one in result.in_input_order()] == names, result.summary()
    return result

def descriptors():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
"""

_THREADS = """
def work(number):
    try:
        answers(KINDS[number % len(KINDS)], [f"{number}.{i}" for i in range(10)])
        done.append(number)
    except BaseException as error:
        done.append(error)

for KINDS in (["sync"], ["asyncio"], ["trio"], ["asyncio", "trio", "sync"]):
    done = []
    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    for thread in threads: thread.start()
    for thread in threads: thread.join(30)
    assert sorted(map(str, done)) == sorted(map(str, range(20))), done
assert len(TABLE) == 0
"""

_AGAIN_AND_AGAIN = """
answers("sync", ["warm"])
before = descriptors()
for number in range(50):
    result = answers("sync", [str(number)])
    assert result.stats["connections"]["opened"] == 1, result.stats["connections"]
assert len(TABLE) == 0
assert descriptors() <= before, (before, descriptors())
"""

_ENDS_IN_MID_CALL = """
import asyncio

async def until_connected():
    while STRATEGY.model._client._given.statistics().open == 0:
        await asyncio.sleep(0.005)

for _ in range(3):
    loop = asyncio.new_event_loop()
    task = loop.create_task(STRATEGY.execute("[slow]", 1, 10.0))
    loop.run_until_complete(until_connected())
    task._log_destroy_pending = False
    loop._ready.clear()
    loop._selector.unregister(loop._ssock); loop._ssock.close(); loop._csock.close()
    loop._closed = True  # as if its thread had died: nothing was cancelled or closed
    loop._selector.close()
before = descriptors()
assert len(TABLE) == 1
answers("trio", ["after"])
assert len(TABLE) == 0
if before:
    assert descriptors() < before
os._exit(0)
"""

_FORK = """
async def all_of_it():
    await STRATEGY.prepare()
    first = await run_batch([f"before {i}" for i in range(8)], STRATEGY, config=CONFIG)
    assert first.succeeded == 8
    held = STRATEGY.model._client._given.statistics().open
    assert held > 0
    child = os.fork()
    if child == 0:
        # Another loop in another process; the parent's connections must not be read here.
        code = 1
        def in_child():
            nonlocal code
            answers("trio", [f"child {i}" for i in range(100)])
            code = 0
        thread = threading.Thread(target=in_child)
        thread.start(); thread.join(30)
        os._exit(code)
    mine = [f"parent {i}" for i in range(100)]
    result = await run_batch(mine, STRATEGY, config=CONFIG)
    assert [one.output for one in result.in_input_order()] == mine
    await STRATEGY.cleanup()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0

anyio.run(all_of_it, backend=sys.argv[2])
"""


class _Echo(BaseHTTPRequestHandler):
    """Answers with the prompt."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        import json
        import time

        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = request["messages"][0]["content"]
        time.sleep(5 if prompt == "[slow]" else 0.002)
        message = {"index": 0, "finish_reason": "stop", "message": {"content": prompt}}
        body = json.dumps({"choices": [message]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients leave as they like."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Give the address of a server that echoes prompts."""
    with _Server(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def run_strictly(script: str, *arguments: str) -> None:
    """Run a script in which every warning is an error, and nothing may be said."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", _PRELUDE + script, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr[-3000:]


def test_twenty_threads_on_one_strategy(url: str) -> None:
    """asyncio, Trio and blocking calls at once: every item of every thread is answered."""
    run_strictly(_THREADS, url)


def test_one_strategy_again_and_again(url: str) -> None:
    """A loop for each batch leaves no entry and no descriptor behind."""
    run_strictly(_AGAIN_AND_AGAIN, url)


def test_a_loop_that_ends_in_mid_call(url: str) -> None:
    """The next run drops what a dead loop left, and closes its descriptors."""
    run_strictly(_ENDS_IN_MID_CALL, url)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork here")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_fork_with_requests_on_both_sides(url: str, backend: str) -> None:
    """Parent and child each get the answers to their own questions."""
    run_strictly(_FORK, url, backend)


_CACHES = """
from batchllm import ResponseCache, from_callable, GeminiCachedStrategy
from batchllm.providers import EmbeddingStrategy, GeminiClient
from batchllm.simulator import Simulator, serve

async def main():
    async with serve(Simulator("instant?profile=gemini")) as server:
        client = GeminiClient("k", base_url=f"{server.url}/v1beta")
        cached = GeminiCachedStrategy("gemini-x", client, cached_content="context " * 2000)
        plain = from_callable(lambda prompt: prompt)
        kept = ResponseCache(plain)
        embedded = EmbeddingStrategy("m", base_url=f"{server.url}/v1", api_key="k")
        done = []
        def work(kind):
            try:
                for strategy in (cached, kept, plain, embedded):
                    run = lambda: run_batch([f"{i}" for i in range(8)], strategy, config=CONFIG)
                    result = anyio.run(run, backend=kind)
                    assert result.succeeded == 8, result.summary()
                done.append(kind)
            except BaseException as error:
                done.append(error)
        async with anyio.create_task_group() as group:
            for kind in ["asyncio", "trio"] * 3:
                group.start_soon(anyio.to_thread.run_sync, work, kind)
        assert sorted(map(str, done)) == ["asyncio"] * 3 + ["trio"] * 3, done
        caches = [one async for one in await client.aio.caches.list()]
        assert len(caches) == 1, caches
        await client.http.aclose()

anyio.run(main)
"""


def test_caches_embeddings_and_functions_on_many_loops(url: str) -> None:
    """The other state of a strategy is fit for several loops, too."""
    run_strictly(_CACHES, url)
