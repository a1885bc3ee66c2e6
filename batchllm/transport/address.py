"""The address of a provider, and the targets of requests below it."""

from __future__ import annotations

from typing import Final

import httpx

from batchllm.core import ConfigError
from batchllm.transport.pool import Origin

__all__ = ["Address"]

_PORTS: Final = {"http": 80, "https": 443}
# Addresses end up in logs, so a key has no place in them.
_NAMES_OF_KEYS: Final = frozenset(
    {"key", "api_key", "api-key", "apikey", "access_token", "token", "sig"}
)


class Address:
    """The parts of a base URL, read once.

    Args:
        base_url: A request's path is put behind its path, before its query.

    Attributes:
        base_url: Without its query.
        host: With its port, as the ``Host`` header has it.
        origin: The server to connect to.

    Raises:
        ConfigError: *base_url* is not the address of a server.
    """

    __slots__ = ("_path", "_query", "base_url", "host", "origin")

    def __init__(self, base_url: str) -> None:
        url = _read_base_url(base_url)
        root, _, self._query = base_url.partition("?")
        self.base_url = root.rstrip("/")
        self.host = url.netloc.decode("ascii")
        self.origin = Origin(url.scheme, url.host, url.port or _PORTS[url.scheme])
        self._path = url.raw_path.decode("ascii").partition("?")[0].rstrip("/")

    def target(self, path: str) -> str:
        """Return what a request line has for *path*."""
        return self._path + self._with_query(path)

    def url(self, path: str) -> str:
        """Return the whole address for *path*."""
        return self.base_url + self._with_query(path)

    def _with_query(self, path: str) -> str:
        if not self._query:
            return path
        mark = "&" if "?" in path else "?"
        return f"{path}{mark}{self._query}"


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
