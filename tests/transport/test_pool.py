"""The connections to one server over streams that the test makes."""

from collections.abc import Awaitable, Callable
from typing import cast

import anyio
import pytest
from anyio.abc import ByteStream

from batchllm.transport.connection import Event
from batchllm.transport.plain_reader import PlainReader
from batchllm.transport.pool import Connection, Origin, OriginPool, PoolSettings
from batchllm.transport.statistics import ConnectionCounts
from batchllm.transport.wire_errors import TooManyFilesError

pytestmark = pytest.mark.anyio


class Stream:
    """A stream on which nothing happens."""

    async def aclose(self) -> None:
        """Close nothing."""


def pool_over(connect: Callable[[], Awaitable[object]]) -> OriginPool:
    settings = PoolSettings(
        make_reader=PlainReader,
        keep_alive=30.0,
        connect=cast("Callable[[], Awaitable[ByteStream]]", connect),
    )
    return OriginPool(Origin("http", "api.test", 80), settings, ConnectionCounts())


def answered(connection: Connection) -> Connection:
    """Return *connection* after one request with a whole reply."""
    for event in (Event.REQUEST, Event.SENT, Event.HEAD, Event.END):
        connection.state.on(event)
    return connection


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
