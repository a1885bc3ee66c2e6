"""Requests through a transport or client that is not ours: httpx's, httpx2's, or anything alike."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Protocol, runtime_checkable

import anyio

from batchllm.core import StrategyError
from batchllm.transport.adapters import base_library_of
from batchllm.transport.border import Border
from batchllm.transport.head import secrets_of
from batchllm.transport.loops import LoopTable, has_ended, loop_of_now
from batchllm.transport.secret import Secret

__all__ = [
    "AsyncClient",
    "AsyncTransport",
    "ForeignSource",
    "Held",
    "OneLoop",
    "OneLoopOfSdk",
    "secrets_of_client",
]

_CLOSE_SECONDS: Final = 5.0
_MOST_PIECES_LEFT: Final = 1_000


@runtime_checkable
class AsyncTransport(Protocol):
    """httpx's transport interface: its own transports, ``MockTransport``, a user's."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send *request* and return the response, its body still to be read."""
        ...


@runtime_checkable
class AsyncClient(Protocol):
    """The part of ``httpx.AsyncClient`` that is used if a user brings a client."""

    @property
    def build_request(self) -> Callable[..., Any]:
        """Makes a request with the client's own headers in it."""
        ...

    @property
    def send(self) -> Callable[..., Awaitable[Any]]:
        """Sends a request."""
        ...


class ForeignSource:
    """A reply by way of a transport or client that is not ours.

    Args:
        border: Makes the errors.
        library: httpx or httpx2.
        send: Sends the request and returns the library's response, unread.
    """

    def __init__(self, border: Border, library: Any, send: Callable[[], Awaitable[Any]]) -> None:
        self._border = border
        self._library = library
        self._send = send
        self._response: Any = None
        self._pieces: Any = None
        self._ended = False

    async def open(self) -> tuple[int, dict[str, str]]:
        """Send the request and return status and headers of the reply."""
        response = self._response = await self._send()
        self._pieces = response.stream.__aiter__()
        return response.status_code, _join(response.headers)

    async def receive(self) -> bytes:
        """Return the next piece of the body, as it comes; ``b""`` at its end."""
        while True:
            try:
                piece = await self._pieces.__anext__()
            except StopAsyncIteration:
                self._ended = True
                return b""
            if piece:
                return bytes(piece)

    async def close(self) -> None:
        """Close the response, within a few seconds, also in a cancelled task."""
        response, self._response = self._response, None
        if response is None:
            return
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            if isinstance(self._pieces, AsyncGenerator):
                await self._unwind(self._pieces)
            await response.aclose()

    def failure(self, error: Exception) -> Exception:
        """Return the error to raise for *error*."""
        return self._border.failure(error, self._library)

    async def _unwind(self, pieces: AsyncGenerator[bytes, None]) -> None:
        """End a generator that was left half way, and those that it reads from in turn.

        Closing one leaves the inner ones to the garbage collector, about which Trio warns; a
        cancellation reaches the innermost and ends them all.
        """
        if not self._ended:
            with anyio.CancelScope() as scope:
                scope.cancel("the reply was left before its end")
                with suppress(Exception):
                    for _ in range(_MOST_PIECES_LEFT):
                        if await anext(pieces, None) is None:
                            break
        await pieces.aclose()


class Held:
    """Counts who holds a transport whose connections are not ours to close."""

    def __init__(self) -> None:
        self._table: LoopTable[_NoConnections] = LoopTable(_NoConnections)

    @property
    def holders(self) -> int:
        """Return how many hold it on the running event loop."""
        return self._table.leases

    def hold(self) -> None:
        """Count one more."""
        self._table.hold()

    async def release(self) -> None:
        """Count one less."""
        await self._table.release()


class _NoConnections:
    async def close(self) -> None:
        """Leave them open."""

    def abandon(self) -> None:
        """Leave them open."""


class OneLoop:
    """Refuses a client whose connections belong to the event loop that used it first.

    httpx ties the connections of an ``AsyncClient`` or ``AsyncHTTPTransport`` to that loop: on a
    second one its requests fail, hang, or break the pool for both.

    Args:
        given: The client or transport.
    """

    def __init__(self, given: object) -> None:
        self._name = _name_of(given) if _is_bound(given) else ""
        self._loop: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loop": None}  # a copy was used on no loop

    def check(self) -> None:
        """Pass on the first loop that this is called on.

        Raises:
            StrategyError: Another loop has used the client before.
        """
        if self._name and not self._is_first():
            raise StrategyError(self._refusal())

    def _is_first(self) -> bool:
        loop = loop_of_now()
        if self._loop is None:
            self._loop = loop
        return self._loop is loop

    def _refusal(self) -> str:
        return (
            f"http is an {self._name}, whose connections belong to the event loop that used "
            "it first, and this is another one; make one strategy with a client of its own "
            "for each loop, or give http=batchllm.transport.HttpTransport(), which serves any "
            "number of loops and threads"
        )


class OneLoopOfSdk(OneLoop):
    """Refuses the client of an SDK on a second event loop while the first one runs.

    Its connections are httpx's. After a loop has ended they are lost, and the client drops each of
    them with an error that is tried again; so a client may serve one loop after the other.

    Args:
        client: Such as an ``openai.AsyncOpenAI``.
    """

    def __init__(self, client: object) -> None:
        super().__init__(getattr(client, "_client", None))
        self._name = self._name and _name_of(client)

    def _is_first(self) -> bool:
        # Only of another loop is it asked whether it has ended: on Trio the question wakes it.
        if super()._is_first():
            return True
        if has_ended(self._loop):
            self._loop = None
        return super()._is_first()

    def _refusal(self) -> str:
        return (
            f"the client is an {self._name}, whose connections belong to the event loop that "
            "used it first, and that one still runs; make a client for each loop, or one with "
            "http_client=batchllm.HttpTransport().client(), which serves any number of loops "
            "and threads"
        )


def secrets_of_client(client: Any) -> list[Secret]:
    """Return what a client adds to requests by itself and messages must not show.

    Its headers, cookies, parameters of the address, and the user and password of ``BasicAuth``.
    What an ``auth`` of another kind puts into a request is not known before it is sent.
    """
    found = dict(_pairs(getattr(client, "headers", None)))
    secrets = secrets_of(found)
    secrets += [Secret(value) for _, value in _pairs(getattr(client, "params", None))]
    # By the jar, since a mapping of cookies refuses two of one name, for two paths.
    jar: Any = getattr(getattr(client, "cookies", None), "jar", None)
    if jar is not None:
        from http.cookiejar import CookieJar  # with all of urllib, for the few that have one

        cookies: Iterable[Any] = jar if isinstance(jar, CookieJar) else ()
        secrets += [Secret(cookie.value) for cookie in cookies if cookie.value]
    basic = getattr(getattr(client, "auth", None), "_auth_header", None)
    given = [basic, found.get("authorization")]
    for one in (value for value in given if isinstance(value, str)):
        secrets += _of_basic(one)
    return secrets


def _pairs(given: Any) -> list[tuple[str, str]]:
    items = getattr(given, "items", None)
    pairs: Any = items() if callable(items) else ()
    return [(name, value) for name, value in pairs if isinstance(value, str)]


def _of_basic(header: str) -> list[Secret]:
    """Return what a header of ``BasicAuth`` is made of: as it is, and its password."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return []
    try:
        pair = base64.b64decode(encoded).decode()
    except ValueError:
        return [Secret(encoded)]
    return [Secret(encoded), Secret(pair), Secret(pair.partition(":")[2])]


def _name_of(given: object) -> str:
    return f"{type(given).__module__.partition('.')[0]}.{type(given).__name__}"


def _is_bound(given: object) -> bool:
    """Return whether *given* sends by a transport of httpx or httpx2."""
    library = base_library_of(given)
    if library is None:
        return False
    if isinstance(given, library.AsyncHTTPTransport):
        return True
    if not isinstance(given, library.AsyncClient):
        return False
    inside = [getattr(given, "_transport", None), *getattr(given, "_mounts", {}).values()]
    return any(isinstance(one, library.AsyncHTTPTransport) for one in inside)


def _join(headers: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers.multi_items():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found
