"""Where a provider is reached, and how its key is sent."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from attrs import frozen

from batchllm.core import ConfigError
from batchllm.transport import AsyncClient, AsyncTransport, HttpClient, Secret

__all__ = ["Endpoint", "open_client"]


@frozen(kw_only=True)
class Endpoint:
    """One provider's door.

    Attributes:
        provider: Its name in ``llm("provider:model")``, quota scopes and messages.
        base_url: Its address; empty where it has to be given.
        auth_header: Carries the key, behind ``auth_prefix``.
        needs_key: Whether it refuses requests without one.
    """

    provider: str
    base_url: str = ""
    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    needs_key: bool = True


def open_client(
    endpoint: Endpoint,
    *,
    base_url: str | None = None,
    api_key: str | Secret | None = None,
    headers: Mapping[str, str] | None = None,
    http: AsyncTransport | AsyncClient | None = None,
    verify: bool | str | ssl.SSLContext = True,
    proxy: str | None = None,
) -> HttpClient:
    """The HTTP client for one account at one server of *endpoint*'s kind.

    Raises:
        ConfigError: There is no address, or no key where one is needed.
    """
    address = base_url or endpoint.base_url
    if not address:
        msg = f"{endpoint.provider} has no address of its own; give base_url"
        raise ConfigError(msg)
    # Behind a transport of the caller's own, the key may be a matter of that transport.
    if api_key is None and endpoint.needs_key and http is None:
        msg = f"{endpoint.provider} needs a key; give api_key"
        raise ConfigError(msg)
    fields = {name.lower(): value for name, value in (headers or {}).items()}
    secrets: list[Secret] = []
    if api_key is not None:
        secrets.append(Secret(api_key))
        fields.setdefault(endpoint.auth_header, endpoint.auth_prefix + secrets[0].reveal())
    return HttpClient(
        http, base_url=address, headers=fields, secrets=secrets, verify=verify, proxy=proxy
    )
