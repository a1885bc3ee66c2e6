"""Connecting: names to addresses, happy eyeballs (RFC 8305), and the TLS handshake."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, zip_longest
from threading import Lock
from typing import Any, Final

import anyio
import anyio.to_thread

from batchllm.transport.channels import words_of
from batchllm.transport.exchange_errors import CannotConnectError, TooManyFilesError

__all__ = ["CONNECT_SECONDS", "Address", "dial", "encrypt", "resolve", "usual_context"]

CONNECT_SECONDS: Final = 30.0
"""For one connection, its name and its TLS handshake included."""
_HEAD_START: Final = 0.25
"""Seconds that one address has before the next is tried as well (RFC 8305, section 5)."""

Address = tuple[int, Any]
"""A family of sockets, and where to connect to."""


async def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of *host*, IPv6 and IPv4 in turn, IPv6 first.

    Raises:
        CannotConnectError: The name has none, or cannot be looked up.
    """
    try:
        found: Sequence[Any]
        try:  # an address in digits needs no thread
            digits = socket.AI_NUMERICHOST
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=digits)
        except socket.gaierror:
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = words_of(error)
    else:
        six = [(int(family), at) for family, _, _, _, at in found if family == socket.AF_INET6]
        four = [(int(family), at) for family, _, _, _, at in found if family != socket.AF_INET6]
        in_turn = chain.from_iterable(zip_longest(six, four))
        return [address for address in in_turn if address is not None]
    raise CannotConnectError(f"the name {host!r} cannot be looked up ({reason})")


async def dial(addresses: Sequence[Address]) -> socket.socket:
    """Connect to the first of *addresses* that answers, giving each a head start.

    Returns:
        A non-blocking socket.

    Raises:
        CannotConnectError: None of them answered.
        TooManyFilesError: This process may not open another socket.
    """
    failures: list[OSError] = []
    if len(addresses) == 1:
        try:
            return await _connect(*addresses[0])
        except OSError as error:
            failures.append(error)
    else:
        connected = await _race(addresses, failures)
        if connected is not None:
            return connected
    if any(failure.errno in (errno.EMFILE, errno.ENFILE) for failure in failures):
        raise TooManyFilesError(_too_many_files())
    reasons = dict.fromkeys(words_of(failure) for failure in failures)
    raise CannotConnectError("; ".join(reasons))


async def _race(addresses: Sequence[Address], failures: list[OSError]) -> socket.socket | None:
    winner: socket.socket | None = None

    async def attempt(address: Address, ended: anyio.Event) -> None:
        nonlocal winner
        try:
            connected = await _connect(*address)
        except OSError as error:
            failures.append(error)
        else:
            if winner is None:
                winner = connected
                group.cancel_scope.cancel("another address answered first")
            else:
                connected.close()
        finally:
            ended.set()

    try:
        async with anyio.create_task_group() as group:
            for address in addresses:
                ended = anyio.Event()
                group.start_soon(attempt, address, ended)
                with anyio.move_on_after(_HEAD_START):
                    await ended.wait()
    except BaseException:
        if winner is not None:
            winner.close()
        raise
    return winner


async def _connect(family: int, at: Any) -> socket.socket:
    connecting = socket.socket(family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = connecting.connect_ex(at)
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY):
            await anyio.wait_writable(connecting)
            code = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        connecting.close()
        raise
    return connecting


async def encrypt(connected: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Do the TLS handshake, in which *context* checks that the server is *host*.

    *connected* is closed if it fails.

    Raises:
        CannotConnectError: The certificate is not valid for *host*, or the handshake failed.
    """
    try:
        encrypted = context.wrap_socket(
            connected, server_hostname=host, do_handshake_on_connect=False
        )
    except (OSError, ValueError) as error:
        connected.close()
        reason = words_of(error)
    except BaseException:
        connected.close()
        raise
    else:
        try:
            await _shake_hands(encrypted)
            return encrypted
        except ssl.SSLCertVerificationError as error:
            encrypted.close()
            reason = (
                f"the certificate of {host} is not accepted ({error.verify_message}); if its "
                "authority is your own, give its file as verify"
            )
        except OSError as error:
            encrypted.close()
            reason = f"the TLS handshake failed ({words_of(error)})"
            if isinstance(error, ssl.SSLError) and error.reason == _PLAIN:
                reason += "; a server that speaks plain HTTP has an address with http://"
        except BaseException:
            encrypted.close()
            raise
    raise CannotConnectError(reason)


async def _shake_hands(encrypted: ssl.SSLSocket) -> None:
    while True:
        try:
            encrypted.do_handshake()
            return
        except ssl.SSLWantReadError:
            await anyio.wait_readable(encrypted)
        except ssl.SSLWantWriteError:
            await anyio.wait_writable(encrypted)


_PLAIN: Final = "WRONG_VERSION_NUMBER"
"""OpenSSL's word for a reply that is no TLS at all, such as a page about a bad request."""
_CONTEXT: Final = Lock()
"""Held while the context is made, so that two threads make one."""


@lru_cache(maxsize=1)
def _make_usual_context() -> ssl.SSLContext:
    import httpx  # for its list of authorities; it takes as long to load as a tenth of a run

    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def usual_context() -> ssl.SSLContext:
    """Return the context with the well-known authorities, made once in the process.

    Reading some 140 certificates takes 30 ms, which a thread spends in place of the event loop.
    """

    def make() -> ssl.SSLContext:
        with _CONTEXT:
            return _make_usual_context()

    if _make_usual_context.cache_info().currsize:
        return _make_usual_context()
    return await anyio.to_thread.run_sync(make)


def _too_many_files() -> str:
    try:
        import resource

        limit = f"{resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,}"
    except ImportError:  # pragma: no cover - Windows
        limit = "its limit of"
    return (
        f"this process may not open more than {limit} files and sockets; raise the limit "
        "(ulimit -n 65536), or lower max_workers"
    )
