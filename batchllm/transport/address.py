"""The address of a provider, checked before anything is sent, and the targets of requests."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Any, Final

import httpx

from batchllm.core import ConfigError
from batchllm.transport.pool import Origin

__all__ = ["Address", "origin_of", "read_address"]

_PORTS: Final = {"http": 80, "https": 443}
# Addresses end up in logs, so a key has no place in them.
_NAMES_OF_KEYS: Final = frozenset(
    {"key", "api_key", "api-key", "apikey", "access_token", "token", "sig"}
)

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
"""Part of a name. Underscores are in none of the standards and in many names of containers."""
_MOST_PORT: Final = 65_535


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
        self.origin = origin_of(url)
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


def origin_of(url: Any) -> Origin:
    """Return the server to connect to for *url*, of httpx or httpx2."""
    return Origin(url.scheme, url.host, url.port or _PORTS.get(url.scheme, 80))


def _read_base_url(text: str) -> httpx.URL:
    url = read_address(text, "base_url", ("http", "https"), "http://localhost:8000/v1")
    if url.userinfo or url.fragment or not _NAMES_OF_KEYS.isdisjoint(url.params):
        address = f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"
        msg = (
            f"base_url {address!r} carries a user, a key or a fragment; give the address alone, "
            "and the key as api_key"
        )
        raise ConfigError(msg)
    return url


def read_address(text: str, what: str, schemes: Collection[str], example: str) -> httpx.URL:
    """Read the address of a server.

    Args:
        text: The address.
        what: What it is called in the message.
        schemes: Those that it may have.
        example: A right one, for the message.

    Raises:
        ConfigError: It is not an address, or nothing can be reached there; a password in it is
            masked in the message.
    """
    _, at, after = text.rpartition("@")
    shown = f"***@{after}" if at else text
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        reason = str(error) if not at else "it cannot be read"
        msg = f"{what} is {shown!r}, which is no address ({reason})"
        raise ConfigError(msg) from None
    if url.scheme not in schemes or not url.host:
        msg = f"{what} is {shown!r}; give a full address such as {example!r}"
        raise ConfigError(msg)
    problem = _problem_of_port(url.port) or _problem_of_host(url.raw_host.decode("ascii"))
    if problem is not None:
        msg = f"{what} is {shown!r}, and {problem}; give an address such as {example!r}"
        raise ConfigError(msg)
    return url


def _problem_of_port(port: int | None) -> str | None:
    if port is None or 1 <= port <= _MOST_PORT:
        return None
    return f"{port} is no port: ports are 1 to {_MOST_PORT}"


def _problem_of_host(host: str) -> str | None:
    """Return why nothing can have the name *host*, as it is looked up."""
    if ":" in host:
        return None  # httpx has read it as an IPv6 address
    labels = host.removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(host) > 253:
        return f"no server can be called {host!r}"
    if labels[-1].isdigit():  # no name ends in a number, so it is meant as an IPv4 address
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return f"{host} is no IPv4 address"
    return None
