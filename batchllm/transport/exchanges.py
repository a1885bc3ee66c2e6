"""One request and its reply on a pooled connection: sent, read, and given back or closed.

Every step asks the state machine in ``connection.py`` what it permits.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from attrs import define, field

from batchllm.transport.connection import Event, Verdict
from batchllm.transport.exchange_errors import (
    ClosedByServerError,
    ConnectionLostError,
    ExchangeError,
    GarbageError,
    ReplyTooLargeError,
)
from batchllm.transport.parsing import Headers
from batchllm.transport.pool import Connection, OriginPool

__all__ = ["MAX_BODY", "REFUSED", "RawReply", "ReplyStream", "exchange", "open_stream"]

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of a reply: 8,000 vectors of 3,072 numbers, spelled as decimals, are 40 MB of them."""

REFUSED: Final = 300
"""The lowest status that says what happened by itself, whatever becomes of the body behind it."""

_JOINED: Final = 65_536
"""Bytes of a body up to which it is copied behind its head for one send; a copy of so much takes
some 5 µs, a second system call and packet more."""

_KEEP_ALIVE_MARGIN: Final = 1.0
"""Seconds before the end of a server's own ``Keep-Alive: timeout`` when its connection is left."""

# Looked up once: Python 3.11 takes 0.4 µs for a member of an enum, and each request asks for these.
_REQUEST, _SENT, _HEAD, _END = Event.REQUEST, Event.SENT, Event.HEAD, Event.END
_GO_ON: Final = Verdict.GO_ON


class RawReply(NamedTuple):
    """A whole reply as the wire has it: its body may still be compressed.

    Attributes:
        headers: By name in lower case, the values of a repeated one joined.
    """

    status: int
    headers: dict[str, str]
    body: bytes


async def exchange(
    pool: OriginPool, head: bytes, body: bytes, method: str, max_body: int, *, may_replay: bool
) -> RawReply:
    """Send a request and read the whole reply.

    Args:
        pool: The server's connections.
        head: Of the request, with the empty line at its end; sent as it is.
        body: Of the request.
        method: Of the request, since a reply to ``HEAD`` has no body.
        max_body: The most bytes that the body may have.
        may_replay: Whether a request may go out again if a connection that had answered before
            ends before the first byte of the reply.

    Returns:
        The reply. One that refuses is one even if its body breaks off; it has what came of it.

    Raises:
        ExchangeError: There is no whole reply.
    """
    connection = await _reach_head(pool, head, body, method, may_replay=may_replay)
    pieces: list[bytes] = []
    try:
        if not connection.whole:  # else all of it is here, to be counted
            _check_declared(connection, max_body)
        pieces += _take_pieces(connection, max_body)
        while not connection.whole:
            _read(connection, await connection.channel.receive())
            pieces += _take_pieces(connection, max_body)
    except ExchangeError as error:
        await pool.discard(connection, _event_of(error))
        if connection.reader.status < REFUSED:
            raise
        return _reply(connection, pieces)
    except BaseException as error:
        await pool.discard(connection, _event_of(error))
        raise
    reply = _reply(connection, pieces)
    # The reply is whole and paid for: nothing below may lose it.
    await _finish(pool, connection)
    return reply


def _reply(connection: Connection, pieces: list[bytes]) -> RawReply:
    content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return RawReply(connection.reader.status, connection.reader.by_name, content)


async def open_stream(
    pool: OriginPool, head: bytes, body: bytes, method: str, max_body: int, *, may_replay: bool
) -> ReplyStream:
    """Send a request and return its reply once the head is there; see :func:`exchange`."""
    connection = await _reach_head(pool, head, body, method, may_replay=may_replay)
    return ReplyStream(pool, connection, max_body)


@define(eq=False)
class ReplyStream:
    """A reply whose body is read piece by piece. Close it, wherever reading ended.

    Closing it again does nothing: its connection may have gone to another request meanwhile.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case.
    """

    _pool: OriginPool
    _connection: Connection
    _max_body: int
    status: int = field(init=False)
    headers: Headers = field(init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.status = self._connection.reader.status
        self.headers = self._connection.reader.headers

    async def receive(self) -> bytes:
        """Return the next piece of the body; ``b""`` at its end.

        Raises:
            ExchangeError: The body is cut off, too large, or not HTTP; or the stream was closed.
        """
        if self._closed:
            raise ConnectionLostError("the reply was closed before it was read on")
        connection = self._connection
        try:
            while not connection.reader.pieces:
                if connection.whole:
                    return b""
                _read(connection, await connection.channel.receive())
            pieces = _take_pieces(connection, self._max_body)
        except BaseException as error:
            await self._pool.discard(connection, _event_of(error))
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def close(self) -> None:
        """Give the connection back if the reply was read to its end, and else discard it."""
        if self._closed:
            return
        self._closed = True
        if self._connection.whole and not self._connection.reader.pieces:
            await _finish(self._pool, self._connection)
        else:
            await self._pool.discard(self._connection, Event.LEFT)


async def _reach_head(
    pool: OriginPool, head: bytes, body: bytes, method: str, *, may_replay: bool
) -> Connection:
    """Send the request until the head of a reply is there."""
    while True:
        connection = await pool.take()
        failure: Exception | None = None
        broken: ConnectionLostError | None = None
        try:
            broken = await _send(connection, head, body, method)
            # Read here and not in a coroutine of its own: what waits is resumed level by level.
            while True:
                data = await connection.channel.receive()
                verdict = _read_head(connection, data, broken)
                if verdict is not None:
                    break
        except (ConnectionLostError, GarbageError) as error:
            failure = broken if broken and isinstance(error, ConnectionLostError) else error
            verdict = connection.state.on(_event_of(failure))
        except BaseException:
            await pool.discard(connection, Event.LEFT)
            raise
        if verdict is _GO_ON:
            return connection
        await pool.discard(connection, Event.LEFT)
        if verdict is Verdict.REPLAY and may_replay:
            may_replay = False
            pool.counts.replayed += 1
            continue
        raise failure or ConnectionLostError("the server had given up waiting for a request (408)")


async def _send(
    connection: Connection, head: bytes, body: bytes, method: str
) -> ConnectionLostError | None:
    """Send the request; return why it did not leave as a whole, if so.

    A server that refuses a long request early closes while we still send; its reply may be there
    to read.
    """
    connection.state.on(_REQUEST)
    connection.reader.begin(method)
    connection.whole, connection.received = False, 0
    try:
        if len(body) <= _JOINED:
            await connection.channel.send(head + body)
        else:
            await connection.channel.send(head)
            await connection.channel.send(body)
    except ConnectionLostError as error:
        return error
    connection.state.on(_SENT)
    return None


def _read_head(
    connection: Connection, data: bytes, broken: ConnectionLostError | None
) -> Verdict | None:
    """Read what arrived of a head; ``None`` if it is not whole.

    Args:
        connection: On which it arrived.
        data: What arrived.
        broken: Why the request did not leave as a whole, if so.
    """
    state, reader = connection.state, connection.reader
    try:
        _read(connection, data)
    except GarbageError:
        if reader.status < REFUSED:
            raise
        reader.reusable, connection.whole = False, True
    if not reader.status:
        state.on(Event.BYTES)
        return None
    verdict = state.on(_HEAD)
    if broken is not None:
        reader.reusable = False
    if reader.status == 408 and state.served and ("connection", "close") in reader.headers:
        # Not an answer to this request: the server closed the idle connection with these words,
        # and they crossed our request on their way.
        return state.on(Event.STALE)
    return verdict


def _read(connection: Connection, data: bytes) -> None:
    """Pass what arrived to the parser."""
    if data:
        connection.whole = connection.reader.feed(data)
        return
    connection.reader.feed_eof()
    connection.whole = True


def _check_declared(connection: Connection, max_body: int) -> None:
    for name, declared in connection.reader.headers:
        if name == "content-length":
            if len(declared) < 20 and declared.isdecimal() and int(declared) > max_body:
                raise ReplyTooLargeError
            break


def _take_pieces(connection: Connection, max_body: int) -> list[bytes]:
    """Take what has been read of the body."""
    reader = connection.reader
    pieces, reader.pieces = reader.pieces, []
    connection.received += sum(map(len, pieces))
    if connection.received > max_body:
        raise ReplyTooLargeError
    return pieces


async def _finish(pool: OriginPool, connection: Connection) -> None:
    reader = connection.reader
    if reader.surplus:
        event = Event.SURPLUS
    elif reader.reusable:
        if not connection.state.served:
            _note_keep_alive(connection)
        connection.state.on(_END)
        if pool.give_back(connection):
            return
        event = Event.LEFT
    else:
        event = Event.LAST
    await pool.discard(connection, event)


def _note_keep_alive(connection: Connection) -> None:
    """Keep the connection for no longer than the server said that it does."""
    said = next((value for name, value in connection.reader.headers if name == "keep-alive"), "")
    for part in said.split(","):
        name, _, seconds = part.strip().partition("=")
        if name.lower() == "timeout" and len(seconds) < 9 and seconds.isdecimal():
            most = max(0.0, float(seconds) - _KEEP_ALIVE_MARGIN)
            connection.keep_alive = min(connection.keep_alive, most)


def _event_of(error: BaseException) -> Event:
    if isinstance(error, ClosedByServerError):
        return Event.EOF
    if isinstance(error, ConnectionLostError):
        return Event.LOST
    return Event.GARBAGE if isinstance(error, GarbageError) else Event.LEFT
