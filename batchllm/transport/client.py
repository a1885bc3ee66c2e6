"""The one HTTP seam: every provider's requests go through ``HttpClient``.

By default they go over our own connections (``HttpTransport``), else through whatever speaks
httpx's transport interface. Redirects are not followed, the environment is not read, nothing is
retried, and no timeout is set beside the one for connecting: callers bound a call with a deadline.

This file is the border: below it requests have keys in them, above it nothing has. So what is
awaited here returns errors, and only the methods that callers see raise them.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from batchllm.core import StrategyError
from batchllm.transport.adapters import library_of
from batchllm.transport.address import Address, read_address
from batchllm.transport.border import Border
from batchllm.transport.exchanges import RawReply, ReplyStream
from batchllm.transport.foreign import (
    AsyncClient,
    AsyncTransport,
    ForeignSource,
    Held,
    OneLoop,
    secrets_of_client,
)
from batchllm.transport.head import (
    HeaderValues,
    RequestHead,
    for_another_process,
    mask_headers,
    secrets_of,
)
from batchllm.transport.http import MAX_BODY, HttpTransport, context_of
from batchllm.transport.proxied import ProxiedTransport, is_proxy, secrets_of_proxy
from batchllm.transport.redact import Cleaner
from batchllm.transport.reply import HttpReply, HttpStream, OwnSource, unpack
from batchllm.transport.secret import Secret
from batchllm.transport.statistics import ConnectionStats

if TYPE_CHECKING:
    import httpx

__all__ = ["Http", "HttpClient", "is_our_own"]

Http: TypeAlias = "HttpTransport | AsyncTransport | AsyncClient | httpx.Proxy | str"
"""The values of ``http=``: a transport or client of ours, httpx's or httpx2's, or a proxy."""

_CONNECT_SECONDS: Final = 30.0
_USER_AGENT: Final = "batchllm"
_OF_PROXIES: Final = ("http", "https", "socks5", "socks5h")


class HttpClient:
    """Posts to one provider. It opens at the first request, and again after ``aclose``.

    It may be used by any number of threads and event loops at once: connections belong to the
    loop that opened them.

    Args:
        transport: An ``HttpTransport``, anything else with httpx's ``handle_async_request``, or
            an ``httpx.AsyncClient`` (httpx2's equivalents, too). It stays yours to close. The
            address of a proxy, or an ``httpx.Proxy``, is used for connections of our own.
            ``None`` opens connections of our own.
        base_url: The provider's address; a request's path is put behind it, before its query,
            such as Azure's ``?api-version=…``.
        headers: Sent with every request.
        secrets: Keys that messages must not show, beside those in *headers*.
        verify: ``True`` checks certificates against the well-known authorities, a path or an
            ``ssl.SSLContext`` against others.
        proxy: The address of a proxy for our own connections.
        max_body: The most bytes that a reply may have, unpacked.

    Raises:
        ConfigError: *base_url* is not the address of a server, or *verify* no file of
            certificates.
        StrategyError: *transport* is not a valid transport.
    """

    def __init__(
        self,
        transport: Http | None = None,
        *,
        base_url: str,
        headers: HeaderValues | None = None,
        secrets: Iterable[Secret] = (),
        verify: bool | str | ssl.SSLContext = True,
        proxy: Any = None,
        max_body: int = MAX_BODY,
    ) -> None:
        headers = mask_headers(headers)
        if is_proxy(transport):
            transport, proxy = None, transport
        self._made_of: dict[str, Any] = {
            "transport": transport,
            "base_url": base_url,
            "headers": headers,
            "secrets": tuple(secrets),
            "verify": verify,
            "proxy": proxy,
            "max_body": max_body,
        }
        secrets = self._made_of["secrets"]
        self._address = Address(base_url)
        self.base_url, self.host = self._address.base_url, self._address.host
        known = [*secrets, *secrets_of(headers), *secrets_of_proxy(proxy)]
        if not isinstance(transport, HttpTransport):
            known += secrets_of_client(transport)
        self.redact = Cleaner(known)
        self._border = Border(self.host, self.redact, max_body)
        self._head = RequestHead(self.host, {**_usual_headers(), **_by_low_name(headers)})
        self._own: HttpTransport | None = None
        self._given: Any = None
        self._is_client = False
        if transport is None:
            self._given = _own_transport(verify, proxy)
        elif isinstance(transport, (HttpTransport, AsyncTransport)):
            self._given = transport
        elif isinstance(transport, AsyncClient):
            self._given, self._is_client = transport, True
        else:
            raise StrategyError(_not_a_transport(transport))
        if isinstance(self._given, HttpTransport):
            self._own = self._given
        self._is_ours_to_close = transport is None
        self._library: Any = library_of(self._given) if self._own is None else None
        self._one_loop = OneLoop(self._given)
        self._leases: HttpTransport | ProxiedTransport | Held = (
            self._given if isinstance(self._given, (HttpTransport, ProxiedTransport)) else Held()
        )

    def __repr__(self) -> str:
        address = getattr(self, "base_url", "…")  # it may be half made in a traceback
        return f"HttpClient({address!r})"

    def __deepcopy__(self, memo: object) -> HttpClient:
        # It serves any number of users at once, each of whom holds and releases it.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        made_of = dict(self._made_of)
        made_of["headers"] = {
            name: for_another_process(name, value) for name, value in made_of["headers"].items()
        }
        if secrets_of_proxy(made_of["proxy"]):
            msg = f"{self!r} cannot be pickled, since its proxy has a password; make it again there"
            raise TypeError(msg)
        return partial(HttpClient, **made_of), ()

    def with_room(self, max_body: int) -> HttpClient:
        """Return a client over the same connections whose replies may have *max_body* bytes."""
        return self._with(max_body=max_body)

    def at(self, base_url: str) -> HttpClient:
        """Return a client over the same connections for another address of the same provider.

        It sends the same headers, the key among them.

        Raises:
            ConfigError: *base_url* is not the address of a server.
        """
        return self._with(base_url=base_url)

    def _with(self, **changes: Any) -> HttpClient:
        made_of = self._made_of
        secrets = (*made_of["secrets"], *secrets_of_proxy(made_of["proxy"]))
        kept: dict[str, Any] = {"transport": self._given, "proxy": None, "secrets": secrets}
        return HttpClient(**{**made_of, **kept, **changes})

    def hold(self) -> None:
        """Stay open on the running event loop until each holder has called :meth:`release`.

        Raises:
            StrategyError: The client or transport that was given serves another loop.
        """
        self._one_loop.check()
        self._leases.hold()

    async def release(self) -> None:
        """Undo one :meth:`hold`; the last one closes the running loop's connections."""
        await self._leases.release()

    async def aclose(self) -> None:
        """Close the running loop's connections, if they were opened here.

        May be called again at any time.
        """
        if self._is_ours_to_close:
            await self._given.aclose()

    def statistics(self) -> Mapping[int, ConnectionStats]:
        """Return what became of the running loop's connections, if they are ours.

        The key stands for the transport, so that one that several share is counted once.
        """
        return {} if self._own is None else {id(self._own): self._own.statistics()}

    @property
    def _holders(self) -> int:
        return self._leases.holders

    async def request_json(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: HeaderValues | None = None,
    ) -> HttpReply:
        """Send *body*, which is JSON, and read the whole reply, whatever its status.

        Args:
            method: Such as ``"POST"``.
            path: Put behind ``base_url``; begins with a slash.
            body: Sent as it is.
            headers: Beside the client's own.

        Raises:
            TransportError: No complete reply arrived.
            MalformedResponseError: The reply is too large or wrongly compressed.
            StrategyError: The client that was given belongs to another event loop.
        """
        headers = headers and mask_headers(headers)
        ended = await self._ask(method, path, body, headers)
        if isinstance(ended, HttpReply):
            return ended
        raise ended

    def stream(
        self,
        path: str,
        body: bytes,
        *,
        headers: HeaderValues | None = None,
        method: str = "POST",
    ) -> HttpStream:
        """Post *body* and read the reply piece by piece: ``async with`` and ``async for``.

        Leaving the block early discards the connection. The arguments and errors are those of
        :meth:`request_json`.
        """
        headers = headers and mask_headers(headers)
        if self._own is not None:
            send = partial(self._open_stream, self._own, method, path, body, headers)
            return HttpStream(self._border, OwnSource(self._border, send))
        foreign = partial(self._send, method, path, body, headers)
        return HttpStream(self._border, ForeignSource(self._border, self._library, foreign))

    async def _ask(
        self, method: str, path: str, body: bytes, headers: HeaderValues | None
    ) -> HttpReply | Exception:
        """Return the whole reply, or what to raise."""
        try:
            if self._own is None:
                async with self.stream(path, body, headers=headers, method=method) as stream:
                    content = await stream.read()
                return HttpReply(stream.status, stream.headers, content)
            head = self._head.write(method, self._address.target(path), len(body), headers)
            raw = await self._own.exchange(
                self._address.origin, head, body, method=method, max_body=self._border.max_body
            )
            return self._reply_of(raw)
        except Exception as error:
            return self._border.failure(error)

    def _reply_of(self, raw: RawReply) -> HttpReply:
        headers = self.redact.headers(raw.headers)
        body = raw.body
        encoding = headers.get("content-encoding")
        if encoding is not None and body:
            body = unpack(body, encoding, raw.status, self._border)
        return HttpReply(raw.status, headers, self.redact.body(body))

    async def _open_stream(
        self,
        own: HttpTransport,
        method: str,
        path: str,
        body: bytes,
        headers: HeaderValues | None,
    ) -> ReplyStream:
        head = self._head.write(method, self._address.target(path), len(body), headers)
        return await own.open_stream(
            self._address.origin, head, body, method=method, max_body=self._border.max_body
        )

    async def _send(self, method: str, path: str, body: bytes, headers: HeaderValues | None) -> Any:
        """Send by the transport or client that was given, in its own library's terms."""
        self._one_loop.check()
        given = self._given
        address = self._address.url(path)
        fields = self._head.fields(headers)
        if self._is_client:
            named = {name.decode(): value.decode() for name, value in fields if name != b"host"}
            request = given.build_request(
                method, address, content=body, headers=named, timeout=None
            )
            return await given.send(request, stream=True, follow_redirects=False)
        fields.append((b"content-length", b"%d" % len(body)))
        request = self._library.Request(
            method,
            self._library.URL(address),
            headers=fields,
            stream=self._library.ByteStream(body),
            extensions={"timeout": {"connect": _CONNECT_SECONDS}},
        )
        return await given.handle_async_request(request)


def is_our_own(http: Http | None) -> bool:
    """Return whether requests through *http* get their key from us alone."""
    return http is None or isinstance(http, HttpTransport) or is_proxy(http)


def _own_transport(verify: bool | str | ssl.SSLContext, proxy: Any) -> Any:
    if proxy is None:
        return HttpTransport(verify=verify)
    if isinstance(proxy, str):
        # As in the variables of the environment, which mostly say no scheme.
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        read_address(proxy, "the proxy", _OF_PROXIES, "http://localhost:3128")
    return ProxiedTransport(proxy, context_of(verify) or True)


def _not_a_transport(given: object) -> str:
    return (
        f"http is a {type(given).__name__}; give an object with handle_async_request(request), "
        "such as an HttpTransport or an httpx transport, an httpx.AsyncClient, or the address of "
        "a proxy"
    )


def _usual_headers() -> dict[str, str]:
    return {
        "accept": "application/json, text/event-stream",
        "accept-encoding": "gzip",
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
    }


def _by_low_name(headers: Mapping[str, Secret]) -> dict[str, Secret]:
    return {name.lower(): value for name, value in headers.items()}
