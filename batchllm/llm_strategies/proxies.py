"""The proxy that the customary environment variables name for an address."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["proxy_for"]


def proxy_for(address: str, environment: Mapping[str, str]) -> str | None:
    """Return the proxy for *address*; ``None`` if there is none, as for this machine itself.

    Args:
        address: Where requests go.
        environment: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` count, in
            lower case first.
    """
    try:
        parts = urlsplit(address)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return None  # the client that connects to it says that it is no address
    if _is_local(host) or _excepted(host, port, _get(environment, "no_proxy")):
        return None
    proxy = _get(environment, f"{parts.scheme}_proxy") or _get(environment, "all_proxy")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return proxy or None


def _get(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.upper()) or ""


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _excepted(host: str, port: int | None, exceptions: str) -> bool:
    for entry in exceptions.lower().split(","):
        name, _, only_port = entry.strip().partition(":")
        if only_port and only_port != str(port):
            continue
        name = name.removeprefix("*").removeprefix(".")
        if entry.strip() == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
    return False
