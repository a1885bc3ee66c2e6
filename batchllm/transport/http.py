"""Our own HTTP/1.1 transport: pooled connections per event loop, on AnyIO sockets."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, Final, Literal, Self, cast

from batchllm.core import ConfigError, explain_arguments
from batchllm.transport.adapters import LibraryName, client_over, respond
from batchllm.transport.exchanges import MAX_BODY, RawReply, ReplyStream, exchange, open_stream
from batchllm.transport.handover import make_h11_reader
from batchllm.transport.httptools_reader import HttptoolsReader, is_installed
from batchllm.transport.loops import LoopTable
from batchllm.transport.parsing import ReplyReader
from batchllm.transport.plain_reader import HeaderLines, PlainReader
from batchllm.transport.pool import Connect, Origin, Pool, PoolSettings
from batchllm.transport.statistics import ConnectionStats

__all__ = ["MAX_BODY", "HttpTransport", "ParserName", "context_of"]

_KEEP_ALIVE: Final = 30.0
"""Seconds: half of what most proxies and load balancers keep an idle connection (60 s)."""

ParserName = Literal["auto", "plain", "h11", "httptools"]
"""The parser of unusual replies, such as one without a length: ``"plain"`` and ``"h11"`` are h11,
which with ``"h11"`` reads the usual ones, too."""


@explain_arguments()
class HttpTransport:
    """Sends requests over connections of its own, on any number of event loops and threads.

    One instance may serve any number of strategies and origins. It can also stand where httpx or
    httpx2 expect an ``AsyncBaseTransport``, so that an SDK's client goes the same way.

    Example::

        async with HttpTransport(verify="company-ca.pem") as http:
            await run_batch(prompts, llm("openai:gpt-5-mini", http=http))

    Args:
        verify: ``True`` checks certificates against the well-known authorities, the path of a
            file of certificates against those, an ``ssl.SSLContext`` against its own.
        replay: Whether a request goes out a second time if a connection that had answered before
            turns out to be closed before the first byte of the reply.
        keep_alive: Seconds that an idle connection is kept; 0 gives each request its own.
        parser: ``"auto"`` takes httptools, if it is installed, for what the plain reader leaves.
        connect: Opens the streams to the server, in place of sockets, such as the pipes of a
            simulator.

    Raises:
        ConfigError: An argument is wrong: *parser* is not installed, say, or *verify* is ``False``.
    """

    def __init__(
        self,
        *,
        verify: bool | str | ssl.SSLContext = True,
        replay: bool = True,
        keep_alive: float = _KEEP_ALIVE,
        parser: ParserName = "auto",
        connect: Connect | None = None,
    ) -> None:
        context = context_of(verify)
        _check_keep_alive(keep_alive)
        _check_connect(connect)
        self._given: dict[str, Any] = {
            "verify": verify,
            "replay": replay,
            "keep_alive": keep_alive,
            "parser": parser,
            "connect": connect,
        }
        self._replay = replay
        settings = PoolSettings(
            make_reader=_reader_of(parser),
            keep_alive=keep_alive,
            context=context,
            connect=connect,
        )
        self._pools: LoopTable[Pool] = LoopTable(lambda: Pool(settings))

    # A copy has the settings, and connections of its own.

    def __copy__(self) -> HttpTransport:
        return HttpTransport(**self._given)

    def __deepcopy__(self, memo: dict[int, Any]) -> HttpTransport:
        # Not of the context for TLS, which cannot be copied, and which any number may share.
        return HttpTransport(**self._given)

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self._given["verify"], ssl.SSLContext):
            msg = (
                "an HttpTransport whose verify is an ssl.SSLContext cannot be pickled; give verify "
                "as the path of a file of certificates, or make the transport where it is needed"
            )
            raise TypeError(msg)
        return partial(HttpTransport, **self._given), ()

    def __repr__(self) -> str:
        return f"HttpTransport({len(self._pools)} event loops)"

    async def __aenter__(self) -> Self:
        self.hold()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.release()

    def __del__(self) -> None:
        # Sockets need no event loop to be closed, so one that was forgotten leaves nothing open.
        pools: LoopTable[Pool] | None = getattr(self, "_pools", None)
        if pools is not None:
            pools.abandon()

    def hold(self) -> None:
        """Keep connections of the running event loop until each holder calls :meth:`release`."""
        self._pools.hold()

    async def release(self) -> None:
        """Undo one :meth:`hold`; the last one closes the running loop's connections."""
        await self._pools.release()

    @property
    def holders(self) -> int:
        """Return how many hold it on the running event loop."""
        return self._pools.leases

    async def aclose(self) -> None:
        """Close the running event loop's connections. It can be used again at any time."""
        await self._pools.close()

    def statistics(self) -> ConnectionStats:
        """Return what became of the running event loop's connections."""
        pool = self._pools.peek()
        return ConnectionStats() if pool is None else pool.counts.snapshot()

    def exchange(
        self,
        origin: Origin,
        head: bytes,
        body: bytes = b"",
        *,
        method: str = "POST",
        max_body: int = MAX_BODY,
    ) -> Awaitable[RawReply]:
        """Send a request as it is and return the whole reply, to be awaited.

        Args:
            origin: The server.
            head: The request's head, with the empty line at its end.
            body: The request's body.
            method: Of the request.
            max_body: The most bytes that the body of the reply may have, as it comes.

        Raises:
            ExchangeError: There is no whole reply.
        """
        pool = self._pools.of_this_loop().of(origin)
        return exchange(pool, head, body, method, max_body, may_replay=self._replay)

    async def open_stream(
        self,
        origin: Origin,
        head: bytes,
        body: bytes = b"",
        *,
        method: str = "POST",
        max_body: int = MAX_BODY,
    ) -> ReplyStream:
        """Send a request and return the reply once its head is there; see :meth:`exchange`."""
        pool = self._pools.of_this_loop().of(origin)
        return await open_stream(pool, head, body, method, max_body, may_replay=self._replay)

    def client(self, library: LibraryName = "httpx2", **settings: Any) -> Any:
        """Return an HTTP client over these connections, for the client of an SDK.

        Example::

            async with (
                HttpTransport() as http,
                openai.AsyncOpenAI(http_client=http.client()) as client,
            ):
                await run_batch(prompts, OpenAIStrategy(client, "gpt-5-mini"))

        Args:
            library: ``"httpx2"`` or ``"httpx"``: whose ``AsyncClient`` it is.
            settings: For that class, such as ``timeout=60``; by default there is no timeout, since
                a batch bounds each call.

        Raises:
            ConfigError: The library is not installed.
        """
        return client_over(self, library, settings)

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request of httpx's or httpx2's and return a response of the same library."""
        return await respond(self.open_stream, request)


def context_of(verify: bool | str | ssl.SSLContext) -> ssl.SSLContext | None:
    """Return the context for TLS that *verify* stands for; ``None`` for the usual one.

    Raises:
        ConfigError: It is ``False``, or no file of certificates.
    """
    if verify is True or isinstance(verify, ssl.SSLContext):
        return None if verify is True else verify
    if isinstance(verify, str):
        return _read_certificates(verify)
    remedy = "give True, the path of a file of certificates, or an ssl.SSLContext"
    if verify is False:
        msg = (
            "verify is False, which would send keys to any server that claims the name; for an "
            f"authority of your own, {remedy}"
        )
        raise ConfigError(msg)
    msg = f"verify is {verify!r}; {remedy}"
    raise ConfigError(msg)


@lru_cache(maxsize=8)
def _read_certificates(path: str) -> ssl.SSLContext:
    try:
        if not path:  # which ssl takes for the authorities of the system
            raise FileNotFoundError("it is empty")
        return ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        msg = f"verify is {path!r}, which cannot be read ({error}); give a file of certificates"
        raise ConfigError(msg) from error


def _check_keep_alive(given: object) -> None:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not (is_number and cast("float", given) >= 0):  # which nan is not, either
        msg = (
            f"keep_alive is {given!r}; give a number of seconds, such as {_KEEP_ALIVE:g}, or 0 for "
            "a connection per request"
        )
        raise ConfigError(msg)


def _check_connect(given: object) -> None:
    if given is not None and not callable(given):
        msg = (
            f"connect is {given!r}; give an async function without arguments that returns a stream "
            "to the server, or None for sockets"
        )
        raise ConfigError(msg)


def _reader_of(parser: ParserName) -> Callable[[HeaderLines], ReplyReader]:
    if parser not in ("auto", "plain", "h11", "httptools"):
        msg = f"parser is {parser!r}; give 'auto', 'plain', 'h11' or 'httptools'"
        raise ConfigError(msg)
    if parser == "httptools" and not is_installed():
        msg = "parser is 'httptools', which is not installed; pip install batchllm[httptools]"
        raise ConfigError(msg)
    if parser == "h11":
        return lambda _: make_h11_reader()
    # For a usual reply httptools costs as much, and more if it has many headers.
    other = HttptoolsReader if parser != "plain" and is_installed() else make_h11_reader
    return partial(PlainReader, other)
