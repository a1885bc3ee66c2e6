"""Addresses of servers and proxies, checked before anything is sent to them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Final

import httpx

from batchllm.core import ConfigError

__all__ = ["read_address"]

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
"""Part of a name. Underscores are in none of the standards and in many names of containers."""
_MOST_PORT: Final = 65_535


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
