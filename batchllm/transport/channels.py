"""One connection's bytes: ``send``, ``receive``, ``close``, over a socket or any byte stream.

Sockets are used raw, with AnyIO only for the waiting. That is cheaper than AnyIO's streams
(60-75 µs a request on asyncio), shows every byte that the kernel holds when an idle connection
is looked at, and closes without an await: so also when the event loop is gone, in a forked
child, and in a cancelled task.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from batchllm.transport.exchange_errors import ConnectionLostError

__all__ = ["Channel", "SocketChannel", "StreamChannel", "words_of"]

_READ: Final = 65_536
"""Bytes asked for at once: one read takes a usual reply, and the buffer is not zeroed."""
_READS_IN_A_ROW: Final = 16
"""Reads of what OpenSSL has decrypted already, before other tasks get a turn (1 MB)."""
_CLOSE_SECONDS: Final = 5.0
"""A stream that is not a socket may have to say goodbye; a close waits no longer for that."""


class Channel(Protocol):
    """The bytes of one connection."""

    async def send(self, data: bytes) -> None:
        """Send all of *data*.

        Raises:
            ConnectionLostError: The connection is broken.
        """
        ...

    async def receive(self) -> bytes:
        """Wait for bytes and return them; ``b""`` once the other side has closed.

        Raises:
            ConnectionLostError: The connection is broken.
        """
        ...

    def arrived(self) -> bytes | None:
        """Return what came since the last read: ``None`` for nothing, ``b""`` for the end."""
        ...

    async def close(self) -> None:
        """Close it, also in a cancelled task."""
        ...

    def abandon(self) -> None:
        """Close it without its event loop, which may be gone or belong to another process."""
        ...


class SocketChannel:
    """A connected, non-blocking socket, in the clear or with TLS."""

    __slots__ = ("_in_a_row", "_is_drained", "_is_encrypted", "_look", "_socket")

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._look = _look_at(connected)
        self._is_encrypted = isinstance(connected, ssl.SSLSocket)
        self._in_a_row = 0
        self._is_drained = False

    async def send(self, data: bytes) -> None:
        """Send all of *data*; mostly the kernel takes it at once, without waiting."""
        try:
            sent = self._send_some(data)
            if sent < len(data):
                rest = memoryview(data)[sent:]
                while rest:
                    await anyio.wait_writable(self._socket)
                    rest = rest[self._send_some(rest) :]
            return
        except OSError as error:
            reason = words_of(error)
        raise ConnectionLostError(reason)

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0

    async def receive(self) -> bytes:
        """Wait for bytes and return them; ``b""`` once the other side has closed."""
        try:
            if self._is_encrypted:
                return await self._receive_encrypted()
            while True:
                # Always by way of the event loop: a server that floods its socket must not keep
                # other tasks, and the deadline of this one, from their turn.
                await anyio.wait_readable(self._socket)
                try:
                    return self._socket.recv(_READ)
                except (BlockingIOError, InterruptedError):
                    continue
        except OSError as error:
            reason = words_of(error)
        raise ConnectionLostError(reason)

    async def _receive_encrypted(self) -> bytes:
        while True:
            if self._is_drained:
                self._in_a_row = 0
                await anyio.wait_readable(self._socket)
            elif self._in_a_row >= _READS_IN_A_ROW:
                self._in_a_row = 0
                await anyio.lowlevel.checkpoint()
            self._in_a_row += 1
            try:
                data = self._decrypt()
            except ssl.SSLWantWriteError:
                await anyio.wait_writable(self._socket)
                continue
            if data is not None:
                return data

    def _decrypt(self) -> bytes | None:
        """Return all that is there, as one piece; ``None`` if there is no whole record.

        A read gives one record, and a stream may have sent several since the last turn. OpenSSL may
        hold bytes while the socket is not readable, so the socket is waited for only once there
        was nothing more to read.
        """
        pieces: list[bytes] = []
        size, self._is_drained = 0, False
        while size < _READ:
            try:
                data = self._socket.recv(_READ)
            except ssl.SSLWantReadError:
                self._is_drained = True
                break
            except OSError:
                if not pieces:
                    raise
                break  # what came before it counts; the next read meets it again, or the end
            if not data:
                return b"".join(pieces)  # the next read meets the end again
            pieces.append(data)
            size += len(data)
        if not pieces:
            return None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def arrived(self) -> bytes | None:
        """Return what came since the last read: ``None`` for nothing, ``b""`` for the end."""
        if self._look is not None and not self._look(0):
            return None
        try:
            # The plain method, which looks at the encrypted bytes where there is TLS.
            first = socket.socket.recv(self._socket, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        if not first or not self._is_encrypted:
            return first
        try:
            return self._socket.recv(1)
        except ssl.SSLWantReadError:
            return None  # a session ticket or a change of keys, which OpenSSL has dealt with
        except OSError:
            return b""

    async def close(self) -> None:
        """Close it; nothing is awaited, so a cancelled task can do it."""
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptor; TLS says no goodbye, which would have to be waited for."""
        with suppress(OSError):
            self._socket.close()


def _look_at(connected: socket.socket) -> Callable[[int], list[tuple[int, int]]] | None:
    """Return what asks if *connected* has anything to read; ``None`` where the system has no poll.

    A read that finds nothing takes twice as long, half of it for the exception.
    """
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return None
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return poll.poll


class StreamChannel:
    """An AnyIO byte stream, such as a pipe to a server in the same process."""

    __slots__ = ("_stream",)

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        """Send all of *data*."""
        try:
            await self._stream.send(data)
            return
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            reason = words_of(error)
        raise ConnectionLostError(reason)

    async def receive(self) -> bytes:
        """Wait for bytes and return them; ``b""`` once the other side has closed."""
        try:
            return await self._stream.receive(_READ)
        except anyio.EndOfStream:
            return b""
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            reason = words_of(error)
        raise ConnectionLostError(reason)

    def arrived(self) -> bytes | None:
        """Return ``None``: a stream cannot be looked at; the replay covers one that has ended."""
        return None

    async def close(self) -> None:
        """Close it, within a few seconds, also in a cancelled task."""
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True), suppress(Exception):
            await self._stream.aclose()

    def abandon(self) -> None:
        """Let go of it: without its event loop nothing more can be done."""


def words_of(error: BaseException) -> str:
    """Return the type of *error* and what it says, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
