"""Does each answer belong to its item? ``python -m benchmarks.swapped``.

10,000 requests with 200 in flight to a server in a process of its own that answers with the prompt,
and sends more than that behind every third answer, in the same segment: another whole answer, or
the beginning of one whose rest follows. Then 1,000 runs of one item with ``run_batch_sync`` on one
strategy, each on an event loop of its own. The exit code is 1 if an answer went to another item, an
item has none, or a connection or descriptor is left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

from batchllm import ConfigError, ProcessorConfig, llm, run_batch, run_batch_sync
from batchllm.transport import HttpTransport
from benchmarks._report import LOOPS, machine, table

_IN_FLIGHT = 200
_CONFIG = ProcessorConfig(max_workers=_IN_FLIGHT)
_READERS: tuple[Any, ...] = ("h11", "plain", "httptools")
_DESCRIPTORS = Path("/proc/self/fd")


def _reply(text: str) -> bytes:
    message = {"index": 0, "finish_reason": "stop", "message": {"content": text}}
    body = json.dumps({"choices": [message]}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


async def _serve() -> None:
    """Answer for ever, and print the port first."""
    wrong = _reply("an answer that no one asked for")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                request = json.loads(await reader.readexactly(size))
                number += 1
                answer = _reply(request["messages"][0]["content"])
                if number % 3:
                    writer.write(answer)
                elif number % 2:
                    writer.write(answer + wrong)
                else:
                    writer.write(answer + wrong[:20])
                    await asyncio.sleep(0.001)
                    writer.write(wrong[20:])
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def _server() -> Generator[str]:
    command = [sys.executable, "-m", "benchmarks.swapped", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.terminate()


async def _ask(url: str, count: int, parser: Any) -> tuple[int, int, int]:
    """Return how many answers are right, the connections opened, and those with surplus bytes."""
    async with HttpTransport(parser=parser) as http:
        strategy = llm("openai-compatible:m", base_url=url, api_key="k", http=http)
        names = [f"item {number}" for number in range(count)]
        result = await run_batch(names, strategy, config=_CONFIG)
        right = [one.output for one in result.in_input_order()]
        connections = result.stats["connections"]
        same = sum(one == name for one, name in zip(right, names, strict=False))
        return same, connections["opened"], connections["discarded"].get("surplus bytes", 0)


def _again_and_again(url: str, count: int) -> tuple[int, int]:
    """Return how many blocking runs were right, and the descriptors that they left."""
    strategy = llm("openai-compatible:m", base_url=url, api_key="k")
    run_batch_sync(["first"], strategy)
    before = len(os.listdir(_DESCRIPTORS)) if _DESCRIPTORS.is_dir() else 0
    right = sum(
        run_batch_sync([str(number)], strategy).results[0].output == str(number)
        for number in range(count)
    )
    after = len(os.listdir(_DESCRIPTORS)) if _DESCRIPTORS.is_dir() else 0
    return right, after - before


def main() -> int:
    """Print the table; 1 if an answer is missing or wrong, or a descriptor is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="1,000 requests, 100 runs")
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(_serve())
    count, runs = (1_000, 100) if asked.quick else (10_000, 1_000)
    rows: list[tuple[object, ...]] = []
    failed = False
    with _server() as url:
        for loop in ("asyncio", "trio"):
            backend, options = LOOPS[loop]
            for reader in _READERS:
                try:
                    HttpTransport(parser=reader)
                except ConfigError:  # not installed
                    continue
                right, opened, surplus = anyio.run(
                    _ask, url, count, reader, backend=backend, backend_options=options
                )
                rows.append((f"{loop}, {reader}", count, right, opened, surplus))
                failed |= right != count or not surplus
        right, left = _again_and_again(url, runs)
    print(f"{machine()}; {_IN_FLIGHT} in flight")
    head = ("surplus bytes", "requests", "right", "connections", "of them with surplus")
    print(table(head, rows), flush=True)
    print(f"{runs:,} × run_batch_sync: {right:,} right, {left} descriptors left")
    return int(failed or right != runs or left > 0)


if __name__ == "__main__":
    sys.exit(main())
