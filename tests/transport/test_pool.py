"""The connections to one server over streams that the test makes."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import anyio
import pytest
from anyio.abc import ByteStream

from batchllm.simulator.pipe import _pipe
from batchllm.transport import HttpTransport
from batchllm.transport.connection import Event
from batchllm.transport.exchange_errors import ConnectionLostError, TooManyFilesError
from batchllm.transport.h11_reader import H11Reader
from batchllm.transport.plain_reader import PlainReader
from batchllm.transport.pool import Connection, Origin, OriginPool, PoolSettings
from batchllm.transport.statistics import ConnectionCounts

pytestmark = pytest.mark.anyio


class Stream:
    """A stream on which nothing happens."""

    async def aclose(self) -> None:
        """Close nothing."""


def pool_over(connect: Callable[[], Awaitable[object]]) -> OriginPool:
    settings = PoolSettings(
        make_reader=lambda lines: PlainReader(H11Reader, lines),
        keep_alive=30.0,
        connect=cast("Callable[[], Awaitable[ByteStream]]", connect),
    )
    return OriginPool(Origin("http", "api.test", 80), settings, ConnectionCounts())


def answered(connection: Connection) -> Connection:
    """Return *connection* after one request with a whole reply."""
    for event in (Event.REQUEST, Event.SENT, Event.HEAD, Event.END):
        connection.state.on(event)
    return connection


def head(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)


@asynccontextmanager
async def open_echo(
    answer: Callable[[bytes], Awaitable[bytes]],
) -> AsyncGenerator[Callable[[], Awaitable[ByteStream]]]:
    """Serve connections of which each request comes in one piece."""

    async def serve(stream: ByteStream) -> None:
        async with stream:
            async for request in stream:
                _, _, body = request.partition(b"\r\n\r\n")
                reply = await answer(body)
                start = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(reply)
                await stream.send(start + reply)

    async with anyio.create_task_group() as group:

        async def connect() -> ByteStream:
            mine, theirs = _pipe()
            group.start_soon(serve, theirs)
            return mine

        yield connect
        group.cancel_scope.cancel("the test is over")


async def test_no_request_sleeps_beside_an_idle_connection() -> None:
    """One is given back while another is opened in vain: the request takes the idle one."""
    attempts = 0

    async def connect() -> Stream:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            await anyio.sleep(2)
            raise TooManyFilesError("no more files")
        return Stream()

    pool = pool_over(connect)
    first = await pool.take()
    taken: list[Connection] = []

    async def take() -> None:
        with anyio.fail_after(60):
            taken.append(await pool.take())

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await anyio.sleep(1)
        assert pool.give_back(answered(first))
    assert taken == [first]
    assert attempts == 2


async def test_a_stream_that_is_closed_again_leaves_the_connection_to_others() -> None:
    """Once closed, a reply neither closes nor reads a connection that may have a new request."""

    async def slow(body: bytes) -> bytes:
        await anyio.sleep(5 if body == b"slow" else 0)
        return body

    origin = Origin("http", "api.test", 80)
    replies: list[bytes] = []
    async with open_echo(slow) as connect, HttpTransport(connect=connect) as http:
        stream = await http.open_stream(origin, head(b"quick"), b"quick")
        while await stream.receive():
            pass
        await stream.close()

        async def ask() -> None:
            replies.append((await http.exchange(origin, head(b"slow"), b"slow")).body)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.sleep(1)
            await stream.close()
            with pytest.raises(ConnectionLostError, match="was closed"):
                await stream.receive()
        assert replies == [b"slow"]
        assert (http.statistics().opened, http.statistics().reused) == (1, 1)
