"""Requests through a proxy, by httpx's own transport: one for each event loop."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import anyio
from attrs import define
from typing_extensions import TypeIs

from batchllm.transport.loops import LoopTable
from batchllm.transport.secret import Secret

if TYPE_CHECKING:
    import httpx

__all__ = ["ProxiedTransport", "is_proxy", "secrets_of_proxy"]

_KEEP_ALIVE: Final = 30.0
_CLOSE_SECONDS: Final = 5.0


@define(eq=False)
class _OnThisLoop:
    transport: Any

    async def close(self) -> None:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True), suppress(Exception):
            await self.transport.aclose()

    def abandon(self) -> None:
        """Leave it to the garbage collector: httpx cannot close without its event loop."""


class ProxiedTransport:
    """httpx's transport through a proxy, on any number of event loops.

    Args:
        proxy: Its address, or an ``httpx.Proxy``.
        verify: ``True``, or the context for TLS.
    """

    def __init__(self, proxy: Any, verify: bool | ssl.SSLContext) -> None:
        import httpx  # which takes as long to load as a tenth of a run

        def make() -> _OnThisLoop:
            limits = httpx.Limits(
                max_connections=None,
                max_keepalive_connections=None,
                keepalive_expiry=_KEEP_ALIVE,
            )
            return _OnThisLoop(
                httpx.AsyncHTTPTransport(
                    verify=verify, trust_env=False, proxy=proxy, retries=0, limits=limits
                )
            )

        self._make: Callable[[], _OnThisLoop] = make
        self._table: LoopTable[_OnThisLoop] = LoopTable(make)

    def hold(self) -> None:
        """Keep the running loop's connections until each holder calls :meth:`release`."""
        self._table.hold()

    async def release(self) -> None:
        """Undo one :meth:`hold`; the last one closes the running loop's connections."""
        await self._table.release()

    @property
    def holders(self) -> int:
        """Return how many hold it on the running event loop."""
        return self._table.leases

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        await self._table.close()

    async def handle_async_request(self, request: Any) -> Any:
        """Send *request* through the proxy."""
        return await self._table.of_this_loop().transport.handle_async_request(request)


def is_proxy(given: object) -> TypeIs[str | httpx.Proxy]:
    """Return whether *given* stands for a proxy: its address, or an ``httpx.Proxy``."""
    # Not imported for it: before httpx is loaded, nothing can be of a class of its own.
    library: Any = sys.modules.get("httpx")
    return isinstance(given, str) or (library is not None and isinstance(given, library.Proxy))


def secrets_of_proxy(proxy: Any) -> list[Secret]:
    """Return what must not show: percent-encoded as in the address, decoded, and both parts as one.

    The last is what ``Proxy-Authorization`` has in base64, in which a ``Secret`` is masked, too.
    """
    if isinstance(proxy, str):
        # Not by urlsplit, which finds no password in an address without a scheme.
        given, _, _ = (proxy.partition("//")[2] or proxy).rpartition("@")
        user, _, password = given.partition(":")
    else:
        auth = getattr(proxy, "raw_auth", None) or (b"", b"")
        user, password = (part.decode("utf-8", "replace") for part in auth)
        given = f"{user}:{password}"
    spellings = [user, password, given]
    if isinstance(proxy, str):
        name, word = unquote(user), unquote(password)
        spellings += [name, word, f"{name}:{word}"]
    return [Secret(text) for text in dict.fromkeys(spellings) if text.strip(":")]
