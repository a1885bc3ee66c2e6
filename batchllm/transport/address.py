"""The address of a provider, checked before anything is sent, and the targets of requests.

A plain address is read here. httpx reads the rest, and whatever is wrong: it takes as long to load
as a tenth of a run, which has no other use for it unless there is a proxy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from batchllm.core import ConfigError
from batchllm.transport.pool import Origin

if TYPE_CHECKING:
    import httpx

__all__ = ["Address", "origin_of", "read_address"]

_PORTS: Final = {"http": 80, "https": 443}
# Addresses end up in logs, so a key has no place in them.
_NAMES_OF_KEYS: Final = frozenset(
    {"key", "api_key", "api-key", "apikey", "access_token", "token", "sig"}
)

# Of these characters alone, and without dots at the beginning of a part of its path, an address
# means the same however it is read. A property test holds it to what httpx reads.
_PLAIN: Final = re.compile(
    r"(https?)://([a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?"
    r"((?:/[\w~-][\w.~-]*)*)/*(?:\?([\w.~=&-]*))?",
    re.ASCII,
)
_IN_ASCII: Final = "xn--"
"""The beginning of a label that stands for one in other letters, by which httpx has it."""

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
        root, _, self._query = base_url.partition("?")
        self.base_url = root.rstrip("/")
        self.origin, self.host, path = _read_plain(base_url) or _read_base_url(base_url)
        self._path = path.rstrip("/")

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


def _read_plain(text: str) -> tuple[Origin, str, str] | None:
    """Return what :func:`_read_base_url` does, if *text* is plain and nothing is wrong with it."""
    found = _PLAIN.fullmatch(text)
    if found is None:
        return None
    scheme, host, digits, path, query = found.groups()
    usual = _PORTS[scheme]
    port = usual if digits is None else int(digits)
    names = {pair.partition("=")[0] for pair in (query or "").split("&")}
    if _IN_ASCII in host or _problem_of_port(port) or _problem_of_host(host):
        return None
    if not _NAMES_OF_KEYS.isdisjoint(names):
        return None
    return Origin(scheme, host, port), host if port == usual else f"{host}:{port}", path


def _read_base_url(text: str) -> tuple[Origin, str, str]:
    """Return the server, its name for the ``Host`` header, and the path.

    Raises:
        ConfigError: *text* is not the address of a server.
    """
    url = read_address(text, "base_url", ("http", "https"), "http://localhost:8000/v1")
    if url.userinfo or url.fragment or not _NAMES_OF_KEYS.isdisjoint(url.params):
        address = f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"
        msg = (
            f"base_url {address!r} carries a user, a key or a fragment; give the address alone, "
            "and the key as api_key"
        )
        raise ConfigError(msg)
    path = url.raw_path.decode("ascii").partition("?")[0]
    return origin_of(url), url.netloc.decode("ascii"), path


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
    import httpx  # see the head of this file

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
