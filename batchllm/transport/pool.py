"""The connections to one server on one event loop: a stack of idle ones, and no queue.

The gate bounds how many requests are in flight, so a request never waits here for another one to
end; it takes the connection that was used last, which is the least likely to have been closed
meanwhile, or opens one. Only the opening is bounded: a start with 2,000 requests must not be a
storm of 2,000 handshakes, which overruns the server's backlog and holds up our own loop.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import anyio
from anyio.abc import ByteStream
from attrs import define, field, frozen

from batchllm.transport.channels import Channel, SocketChannel, StreamChannel
from batchllm.transport.connection import ConnectionState, Event, State, Verdict
from batchllm.transport.dialling import (
    CONNECT_SECONDS,
    Address,
    dial,
    encrypt,
    resolve,
    usual_context,
)
from batchllm.transport.exchange_errors import CannotConnectError, TooManyFilesError
from batchllm.transport.loops import clock_of_now
from batchllm.transport.parsing import ReplyReader
from batchllm.transport.plain_reader import HeaderLines
from batchllm.transport.statistics import ConnectionCounts

__all__ = ["Connect", "Connection", "Origin", "OriginPool", "Pool", "PoolSettings"]

_CONNECTS: Final = 100
"""Connections under way at once to one server: the backlog of a usual listener (asyncio's 100)."""
_HANDSHAKES: Final = 64
"""Connections with TLS under way at once: a handshake takes 1 ms of CPU, so 64 that are answered
at once hold the event loop for 64 ms."""
_ADDRESSES_LAST: Final = 30.0
"""Seconds for which a name is not looked up again; each look-up takes a thread."""

Connect = Callable[[], Awaitable[ByteStream]]
"""Opens a stream to the server, in place of a socket."""


class Origin(NamedTuple):
    """A server: connections are shared only among requests to the same one."""

    scheme: str
    host: str
    port: int


@frozen(kw_only=True)
class PoolSettings:
    """The rules by which connections are made and kept.

    Attributes:
        make_reader: Makes the reader of replies, with what it may know of the server's headers.
        keep_alive: Seconds that an idle connection is kept.
        context: For TLS; ``None`` trusts the well-known authorities.
        connect: Opens streams in place of sockets.
    """

    make_reader: Callable[[HeaderLines], ReplyReader]
    keep_alive: float
    context: ssl.SSLContext | None = field(default=None, repr=False)
    connect: Connect | None = None


@define(eq=False)
class Connection:
    """One connection with its reader and its state.

    Attributes:
        idle_since: On the event loop's clock.
        keep_alive: Seconds that it is kept while idle.
        whole: Whether the reply under way is whole.
        received: Bytes of the body so far.
    """

    channel: Channel
    reader: ReplyReader
    keep_alive: float
    state: ConnectionState = field(factory=ConnectionState)
    idle_since: float = 0.0
    whole: bool = False
    received: int = 0


@define(eq=False)
class OriginPool:
    """The connections to one origin."""

    origin: Origin
    settings: PoolSettings
    counts: ConnectionCounts
    _idle: deque[Connection] = field(factory=deque, init=False)
    _all: set[Connection] = field(factory=set, init=False)
    _opening: int = field(default=0, init=False)
    _waiting: deque[anyio.Event] = field(factory=deque, init=False)
    _addresses: list[Address] = field(factory=list, init=False)
    _resolved: float = field(default=0.0, init=False)
    _resolving: anyio.Lock = field(factory=anyio.Lock, init=False)
    _closed: bool = field(default=False, init=False)
    _clock: Callable[[], float] = field(factory=clock_of_now, init=False)
    _lines: HeaderLines = field(factory=HeaderLines, init=False)

    async def take(self) -> Connection:
        """Return a connection on which nothing is under way.

        Raises:
            CannotConnectError: The server cannot be reached.
        """
        most = _HANDSHAKES if self.origin.scheme == "https" else _CONNECTS
        while True:
            while self._idle:
                connection, fault = self._take_idle()
                if fault is None:
                    self.counts.reused += 1
                    return connection
                await self.discard(connection, fault)
            if self._opening < most:
                try:
                    return await self._open()
                except TooManyFilesError:
                    if not self._all and not self._opening:
                        self._wake(everyone=True)
                        raise
                    # One may have been given back meanwhile, and woke none, for none waited.
                    if self._idle:
                        continue
            # One that opens or works will be free sooner or later; that wakes the first here.
            await self._wait()

    def _take_idle(self) -> tuple[Connection, Event | None]:
        """Take the oldest if it has expired, else the one that was used last.

        Returns:
            The connection, and what has ended it, if anything did.
        """
        now = self._clock()
        oldest = self._idle[0]
        if now - oldest.idle_since >= oldest.keep_alive:
            return self._idle.popleft(), Event.EXPIRED
        connection = self._idle.pop()
        if now - connection.idle_since >= connection.keep_alive:
            return connection, Event.EXPIRED
        arrived = connection.channel.arrived()
        if arrived is None:
            return connection, None
        return connection, Event.SURPLUS if arrived else Event.EOF

    async def _open(self) -> Connection:
        self._opening += 1
        began = self._clock()
        channel: Channel | None = None
        try:
            with anyio.move_on_after(CONNECT_SECONDS):
                channel = await self._connect()
        except TooManyFilesError:
            self._opening -= 1  # and wakes none: the next would fail as well, and wake this one
            raise
        except BaseException:
            self._opening -= 1
            self._wake()
            raise
        self._opening -= 1
        self._wake()
        if channel is None:
            raise CannotConnectError(f"there was no connection within {CONNECT_SECONDS:g} s")
        settings = self.settings
        connection = Connection(channel, settings.make_reader(self._lines), settings.keep_alive)
        self._all.add(connection)
        self.counts.on_opened(self._clock() - began)
        return connection

    async def _connect(self) -> Channel:
        settings, origin = self.settings, self.origin
        if settings.connect is not None:
            return StreamChannel(await settings.connect())
        try:
            connected = await dial(await self._resolve())
        except TooManyFilesError:
            raise
        except CannotConnectError:
            self._addresses = []  # the name may have moved
            raise
        if origin.scheme != "https":
            return SocketChannel(connected)
        try:
            context = settings.context or await usual_context()
        except BaseException:
            connected.close()
            raise
        return SocketChannel(await encrypt(connected, context, origin.host))

    async def _resolve(self) -> list[Address]:
        async with self._resolving:  # one look-up for all that open at once
            now = self._clock()
            if not self._addresses or now - self._resolved > _ADDRESSES_LAST:
                self._addresses = await resolve(self.origin.host, self.origin.port)
                self._resolved = now
            return self._addresses

    def give_back(self, connection: Connection) -> bool:
        """Keep *connection* for the next request if its state allows it; else it is to be closed.

        Returns:
            Whether it was kept.
        """
        if self._closed or connection.state.on(Event.RELEASE) is not Verdict.REUSE:
            return False
        connection.idle_since = self._clock()
        self._idle.append(connection)
        if self._waiting:
            self._wake()
        return True

    async def discard(self, connection: Connection, event: Event) -> None:
        """Close *connection* because of *event*, unless something else has ended it already."""
        if connection not in self._all:
            return
        connection.state.on(event)
        self._all.discard(connection)
        self.counts.open -= 1
        self.counts.discarded[connection.state.reason or event] += 1
        self._wake()
        await connection.channel.close()

    async def _wait(self) -> None:
        turn = anyio.Event()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self._wake()  # it was this one's turn, which goes to the next
            else:
                self._waiting.remove(turn)
            raise

    def _wake(self, *, everyone: bool = False) -> None:
        while self._waiting:
            self._waiting.popleft().set()
            if not everyone:
                break

    async def close(self) -> None:
        """Close every connection; those under way end when their requests do."""
        self._closed = True
        idle, self._idle = self._idle, deque()
        for connection in idle:
            self._forget(connection)
            await connection.channel.close()

    def abandon(self) -> None:
        """Close every descriptor without the event loop."""
        self._closed = True
        for connection in self._all:
            connection.state.state = State.DEAD
            connection.channel.abandon()
        self._all.clear()
        self._idle.clear()

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        self.counts.open -= 1


@define(eq=False)
class Pool:
    """The connections of one client on one event loop, by origin."""

    settings: PoolSettings
    counts: ConnectionCounts = field(factory=ConnectionCounts)
    _origins: dict[Origin, OriginPool] = field(factory=dict, init=False)

    def of(self, origin: Origin) -> OriginPool:
        """Return the connections to *origin*."""
        pool = self._origins.get(origin)
        if pool is None:
            pool = self._origins[origin] = OriginPool(origin, self.settings, self.counts)
        return pool

    async def close(self) -> None:
        """Close what is idle; requests under way close their connections when they end."""
        for pool in self._origins.values():
            await pool.close()

    def abandon(self) -> None:
        """Close every descriptor without the event loop."""
        for pool in self._origins.values():
            pool.abandon()
