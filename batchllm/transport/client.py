"""The one HTTP seam: every provider's requests go through ``HttpClient``.

It hands prepared requests to anything that speaks httpx's transport interface. Redirects are not
followed, the environment is not read, nothing is retried, and no timeout is set beside the one
for connecting: whoever calls bounds the call with a deadline.
"""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Protocol, runtime_checkable

import anyio
import httpx

from batchllm.core import ConfigError, StrategyError
from batchllm.transport.exchange import CLOSE_SECONDS, HttpReply, HttpStream, Wire
from batchllm.transport.redact import Redactor
from batchllm.transport.secret import Secret

__all__ = ["AsyncClient", "AsyncTransport", "HttpClient"]

_CONNECT_SECONDS: Final = 30.0
_MAX_BODY: Final = 64 * 1024 * 1024
_USER_AGENT: Final = "batchllm"
# Addresses end up in logs, so a key has no place in them.
_NAMES_OF_KEYS: Final = frozenset(
    {"key", "api_key", "api-key", "apikey", "access_token", "token", "sig"}
)


@runtime_checkable
class AsyncTransport(Protocol):
    """httpx's transport interface: its own transports, ``MockTransport``, a user's."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send *request* and return the response, its body still to be read."""
        ...


@runtime_checkable
class AsyncClient(Protocol):
    """The part of ``httpx.AsyncClient`` that is used where a user brings a client."""

    @property
    def build_request(self) -> Callable[..., Any]:
        """Makes a request with the client's own headers in it."""
        ...

    @property
    def send(self) -> Callable[..., Awaitable[Any]]:
        """Sends a request."""
        ...


class HttpClient:
    """Posts to one provider. It opens at the first request, and again after ``aclose``.

    Args:
        transport: Anything with httpx's ``handle_async_request``, or an ``httpx.AsyncClient``
            (httpx2's equivalents, too). It stays yours to close. ``None`` opens connections of
            our own.
        base_url: The provider's address; a request's path is put behind it, before its query,
            such as Azure's ``?api-version=…``.
        headers: Sent with every request.
        secrets: Keys that messages must not show.
        verify: ``True`` checks certificates against the well-known authorities, a path or an
            ``ssl.SSLContext`` against others.
        proxy: The address of a proxy for our own connections.
        max_body: The most bytes that a reply may have, unpacked.

    Raises:
        ConfigError: *base_url* is no address of a server, or *verify* no file of certificates.
        StrategyError: *transport* is none.
    """

    def __init__(
        self,
        transport: AsyncTransport | AsyncClient | None = None,
        *,
        base_url: str,
        headers: Mapping[str, str] | None = None,
        secrets: Iterable[Secret] = (),
        verify: bool | str | ssl.SSLContext = True,
        proxy: str | None = None,
        max_body: int = _MAX_BODY,
    ) -> None:
        if transport is not None and not isinstance(transport, (AsyncTransport, AsyncClient)):
            msg = (
                f"http is a {type(transport).__name__}; give an object with "
                "handle_async_request(request), such as an httpx transport, or an "
                "httpx.AsyncClient"
            )
            raise StrategyError(msg)
        root, _, self._query = base_url.partition("?")
        self.base_url = root.rstrip("/")
        self._given = transport
        self._opened: httpx.AsyncHTTPTransport | None = None
        self._holders = 0
        self._verify = _read_certificates(verify) if isinstance(verify, str) else verify
        self._proxy = proxy
        self._urls: dict[str, Any] = {}
        self.host = _read_base_url(base_url).netloc.decode("ascii")
        self.redact = Redactor(tuple(secrets))
        self._headers = _as_header_list(self.host, headers or {})
        self._library: Any = httpx if transport is None else _library_of(transport)
        self._wire = Wire(self.host, self._library, self.redact, max_body)

    def __repr__(self) -> str:
        return f"HttpClient({self.base_url!r})"

    def hold(self) -> None:
        """Stay open until each holder has called :meth:`release`."""
        self._holders += 1

    async def release(self) -> None:
        """Undo one :meth:`hold`; the last one closes the connections."""
        self._holders = max(0, self._holders - 1)
        if not self._holders:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that were opened here. May be called again at any time."""
        opened, self._opened = self._opened, None
        if opened is not None:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await opened.aclose()

    async def post_json(
        self, path: str, body: bytes, *, headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        """Post *body*, which is JSON, and read the whole reply, whatever its status.

        Args:
            path: Put behind ``base_url``; begins with a slash.
            body: Sent as it is.
            headers: Beside the client's own.

        Raises:
            TransportError: No complete reply arrived.
            MalformedResponseError: The reply is too large or wrongly compressed.
        """
        return await self.request_json("POST", path, body, headers=headers)

    async def request_json(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> HttpReply:
        """Like :meth:`post_json`, with another *method* such as ``"GET"`` or ``"PATCH"``."""
        start = anyio.current_time()
        async with self.stream(path, body, headers=headers, method=method) as reply:
            content = await reply.read()
        return HttpReply(reply.status, reply.headers, content, anyio.current_time() - start)

    def stream(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> HttpStream:
        """Post *body* and read the reply piece by piece: ``async with`` and ``async for``.

        Leaving the block early discards the connection. The arguments and errors are those of
        :meth:`post_json`.
        """
        return HttpStream(self._wire, partial(self._send, method, path, body, headers))

    async def _send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None
    ) -> Any:
        given = self._given
        if given is not None and not isinstance(given, AsyncTransport):
            extra = dict(self._headers_of_ours(headers))
            request = given.build_request(
                method, self._target(path), content=body, headers=extra, timeout=None
            )
            return await given.send(request, stream=True, follow_redirects=False)
        url = self._urls.get(path)
        if url is None:
            url = self._library.URL(self._target(path))
            if method == "POST":  # the paths of resources and pages are too many to be kept
                self._urls[path] = url
        fields = [*self._headers, (b"content-length", str(len(body)).encode())]
        if headers:
            fields += _encode(headers)
        request = self._library.Request(
            method,
            url,
            headers=fields,
            stream=self._library.ByteStream(body),
            extensions={"timeout": {"connect": _CONNECT_SECONDS}},
        )
        transport = given if given is not None else self._open()
        return await transport.handle_async_request(request)

    def _target(self, path: str) -> str:
        mark = "&" if "?" in path else "?"
        return f"{self.base_url}{path}{mark}{self._query}" if self._query else self.base_url + path

    def _headers_of_ours(self, headers: Mapping[str, str] | None) -> Iterable[tuple[str, str]]:
        for name, value in self._headers:
            if name != b"host":
                yield name.decode(), value.decode()
        yield from (headers or {}).items()

    def _open(self) -> httpx.AsyncHTTPTransport:
        if self._opened is None:
            self._opened = httpx.AsyncHTTPTransport(
                verify=self._verify,
                trust_env=False,
                proxy=self._proxy,
                retries=0,
                limits=httpx.Limits(
                    max_connections=None, max_keepalive_connections=None, keepalive_expiry=30.0
                ),
            )
        return self._opened


def _library_of(transport: object) -> Any:
    # A request has to be of the library that the transport is made for, httpx or httpx2.
    for cls in type(transport).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in ("httpx", "httpx2"):
            return importlib.import_module(root)
    return httpx


def _read_base_url(text: str) -> httpx.URL:
    _, at, after = text.rpartition("@")
    shown = f"***@{after}" if at else text
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        msg = f"base_url is {shown!r}, which is no address ({error})"
        raise ConfigError(msg) from None
    if url.scheme not in ("http", "https") or not url.host:
        msg = f"base_url is {shown!r}; give a full address such as 'http://localhost:8000/v1'"
        raise ConfigError(msg)
    if url.userinfo or url.fragment or not _NAMES_OF_KEYS.isdisjoint(url.params):
        address = f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"
        msg = (
            f"base_url {address!r} carries a user, a key or a fragment; give the address alone, "
            "and the key as api_key"
        )
        raise ConfigError(msg)
    return url


def _read_certificates(path: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        msg = f"verify is {path!r}, which cannot be read ({error}); give a file of certificates"
        raise ConfigError(msg) from error


def _as_header_list(host: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    ours = {
        "host": host,
        "accept": "application/json, text/event-stream",
        "accept-encoding": "gzip",
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
    }
    ours.update((name.lower(), value) for name, value in headers.items())
    return _encode(ours)


def _encode(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    fields: list[tuple[bytes, bytes]] = []
    for name, value in headers.items():
        if not value.isascii() or not name.isascii() or not value.isprintable():
            msg = f"the header {name!r} has characters that HTTP does not allow; check its value"
            raise ConfigError(msg)
        fields.append((name.lower().encode(), value.encode()))
    return fields
