"""The clients of ``benchmarks.transport``: ours, and those that one would write without it.

Each is opened by a function that takes a ``Load`` and gives ``ask(count)``, which makes so many
requests, keeps what they answered, and returns how many were answered right. All send the same
JSON and read the same JSON; streams are read event by event.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
from attrs import frozen

from batchllm import ConfigError, Gate, llm, open_pool, run_batch

__all__ = ["OURS", "PEERS", "Ask", "Load", "Way", "parsers"]

Ask: TypeAlias = Callable[[int], Awaitable[int]]

_ANSWER = "The quick brown fox jumps over the lazy dog, and then it does so once more."
_STREAMED = "word " * 48  # the first 49 of 50 events have a word each, the last of them the usage


@frozen(kw_only=True)
class Load:
    """The work of a client.

    Attributes:
        base_url: The server, with the delay of its replies in it.
        context: Trusts the server; ``None`` for plain HTTP.
        in_flight: Requests under way at once.
        stream: Whether answers are streamed.
        reports_limits: Whether replies are those of a hosted API, with limits in their headers.
        cold: Whether nothing may be known or open beforehand.
        parser: Which parser of our own transport reads replies.
    """

    base_url: str
    context: ssl.SSLContext | None
    in_flight: int
    stream: bool = False
    reports_limits: bool = False
    cold: bool = False
    parser: str = "h11"

    def request(self, number: int) -> dict[str, Any]:
        """Give the body of a request."""
        body: dict[str, Any] = {
            "model": "m",
            "messages": [{"role": "user", "content": f"Say something about the number {number}."}],
            "temperature": 0.0,
        }
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def is_right(self, text: str) -> bool:
        """Return whether *text* is what the server says."""
        return text.startswith(_STREAMED[:200]) if self.stream else text == _ANSWER


Way: TypeAlias = Callable[[Load], AbstractAsyncContextManager[Ask]]


def own_transport() -> Any:
    """The class of the library's own transport, where the library has one."""
    import batchllm.transport as rooms

    return getattr(rooms, "HttpTransport", None)


def parsers() -> tuple[str, ...]:
    """The parsers of our own transport that can be measured here."""
    transport = own_transport()
    found: list[str] = []
    for name in ("h11", "plain", "httptools"):
        with suppress(ConfigError, TypeError):  # not installed, or not known
            transport(parser=name)
            found.append(name)
    return tuple(found) or ("httpx",)


@asynccontextmanager
async def ours(load: Load) -> AsyncGenerator[Ask]:
    """``run_batch`` with ``llm``, on a gate that has seen the load unless the start is cold."""
    async with AsyncExitStack() as stack:
        http: Any = None
        if own_transport() is not None:
            verify: Any = True if load.context is None else load.context
            http = await stack.enter_async_context(
                own_transport()(verify=verify, parser=load.parser)
            )
        elif load.context is not None:
            import httpx

            limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
            http = await stack.enter_async_context(
                httpx.AsyncHTTPTransport(verify=load.context, limits=limits)
            )
        strategy = llm(
            "openai-compatible:m",
            base_url=load.base_url,
            api_key="k",
            temperature=0.0,
            http=http,
            stream=load.stream,
        )
        gate = None if load.cold else Gate(calls=load.in_flight)
        if gate is not None:
            # An open pool keeps the connections between two runs.
            pool = await stack.enter_async_context(open_pool(strategy, gate=gate))
            await pool.call("first")

        async def ask(count: int) -> int:
            prompts = (f"Say something about the number {n}." for n in range(count))
            result = await run_batch(prompts, strategy, concurrency=load.in_flight, gate=gate)
            return sum(one.success and load.is_right(one.output or "") for one in result)

        yield ask


@asynccontextmanager
async def aiohttp_way(load: Load) -> AsyncGenerator[Ask]:
    """aiohttp, as one would write it: a semaphore, a task for each request."""
    import aiohttp

    ssl_option: Any = True if load.context is None else load.context
    connector = aiohttp.TCPConnector(limit=0, ssl=ssl_option)
    address, headers = f"{load.base_url}/chat/completions", {"Authorization": "Bearer k"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def one(number: int) -> Any:
            async with session.post(address, json=load.request(number)) as response:
                response.raise_for_status()
                if not load.stream:
                    return _whole(await response.json())
                return await _joined(response.content)

        yield _with_semaphore(load, one)


def _whole(reply: Any) -> tuple[str, Any]:
    return reply["choices"][0]["message"]["content"], reply["usage"]


async def _joined(lines: Any) -> tuple[str, Any]:
    parts: list[str] = []
    usage = None
    async for line in lines:
        usage = _take_line(line, parts) or usage
    return "".join(parts), usage


def _take_line(line: bytes | str, parts: list[str]) -> Any:
    text = line.decode() if isinstance(line, bytes) else line
    if not text.startswith("data: ") or text.startswith("data: [DONE]"):
        return None
    event = json.loads(text[6:])
    if event["choices"]:
        parts.append(event["choices"][0]["delta"].get("content") or "")
    return event.get("usage")


def _with_semaphore(load: Load, one: Callable[[int], Awaitable[tuple[str, Any]]]) -> Ask:
    async def ask(count: int) -> int:
        limit = asyncio.Semaphore(load.in_flight)

        async def bounded(number: int) -> tuple[str, Any]:
            async with limit:
                return await one(number)

        results: Iterable[tuple[str, Any]] = await asyncio.gather(*map(bounded, range(count)))
        return sum(load.is_right(text) for text, _ in results)

    return ask


def _httpx_like(module: str) -> Way:
    @asynccontextmanager
    async def way(load: Load) -> AsyncGenerator[Ask]:
        library = importlib.import_module(module)
        address = f"{load.base_url}/chat/completions"
        async with library.AsyncClient(**_options_of(library, load)) as client:

            async def one(number: int) -> Any:
                if not load.stream:
                    response = await client.post(address, json=load.request(number))
                    response.raise_for_status()
                    return _whole(response.json())
                request = {"json": load.request(number)}
                async with client.stream("POST", address, **request) as response:
                    return await _joined(response.aiter_lines())

            yield _with_semaphore(load, one)

    return way


def _options_of(library: Any, load: Load) -> dict[str, Any]:
    return {
        "limits": library.Limits(max_connections=None, max_keepalive_connections=None),
        "timeout": 600.0,
        "verify": True if load.context is None else load.context,
        "trust_env": False,
    }


@asynccontextmanager
async def openai_way(load: Load) -> AsyncGenerator[Ask]:
    """OpenAI's own package, with its own client."""
    import openai

    # A class of httpx2's from release 3 on, of httpx's before.
    bases = (base.__module__.partition(".")[0] for base in openai.DefaultAsyncHttpxClient.__mro__)
    library = importlib.import_module(next(name for name in bases if name.startswith("httpx")))
    http = openai.DefaultAsyncHttpxClient(**_options_of(library, load))
    async with openai.AsyncOpenAI(
        base_url=load.base_url, api_key="k", max_retries=0, http_client=http
    ) as client:

        async def one(number: int) -> Any:
            reply: Any = await client.chat.completions.create(**load.request(number))
            if not load.stream:
                return reply.choices[0].message.content, reply.usage
            parts: list[str] = []
            usage = None
            async for event in reply:
                if event.choices:
                    parts.append(event.choices[0].delta.content or "")
                usage = event.usage or usage
            return "".join(parts), usage

        yield _with_semaphore(load, one)


class _Exchange(asyncio.Protocol):
    """One connection of the hand-written client: it knows our server's replies and no others."""

    def __init__(self, idle: list[_Exchange]) -> None:
        self.idle = idle
        self.received = bytearray()
        self.size = 0
        self.done: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        received = self.received
        received += data
        if not self.size:
            head = received.find(b"\r\n\r\n") + 4
            if head < 4:
                return
            at = received.find(b"content-length:", 0, head)
            self.size = -1
            if at >= 0:
                self.size = head + int(received[at + 15 : received.find(b"\r\n", at)])
        if len(received) == self.size or (self.size < 0 and received.endswith(b"\r\n0\r\n\r\n")):
            body = bytes(received[received.find(b"\r\n\r\n") + 4 :])
            received.clear()
            self.size = 0
            self.idle.append(self)
            assert self.done is not None
            self.done.set_result(body)


@asynccontextmanager
async def by_hand(load: Load) -> AsyncGenerator[Ask]:
    """A protocol of a hundred lines that does nothing but this: what is left to be gained."""
    parts = urlsplit(load.base_url)
    idle: list[_Exchange] = []
    loop = asyncio.get_running_loop()
    head = (
        f"POST {parts.path}/chat/completions HTTP/1.1\r\nhost: {parts.netloc}\r\n"
        "authorization: Bearer k\r\ncontent-type: application/json\r\ncontent-length: "
    ).encode()

    async def one(number: int) -> Any:
        body = json.dumps(load.request(number)).encode()
        if idle:
            exchange = idle.pop()
        else:
            _, exchange = await loop.create_connection(
                lambda: _Exchange(idle), parts.hostname or "", parts.port or 0, ssl=load.context
            )
        exchange.done = loop.create_future()
        exchange.transport.write(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        reply = await exchange.done
        if not load.stream:
            return _whole(json.loads(reply))
        texts: list[str] = []
        usage = None
        for line in reply.split(b"\n"):
            usage = _take_line(line, texts) or usage
        return "".join(texts), usage

    try:
        yield _with_semaphore(load, one)
    finally:
        for exchange in idle:
            exchange.transport.close()
        await anyio.lowlevel.checkpoint()


OURS: Way = ours
PEERS: dict[str, tuple[str, Way]] = {
    "aiohttp": ("aiohttp", aiohttp_way),
    "by hand": ("asyncio", by_hand),
    "httpx": ("httpx", _httpx_like("httpx")),
    "httpx2": ("httpx2", _httpx_like("httpx2")),
    "openai": ("openai", openai_way),
}
"""By name: the package that it needs, and the way."""
