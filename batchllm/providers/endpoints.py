"""Where a provider is reached, and how its key is sent."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from attrs import frozen

from batchllm.core import ConfigError
from batchllm.transport import HeaderValues, Http, HttpClient, Secret, is_our_own, mask_headers

__all__ = ["Endpoint", "lasting_address", "open_client"]

_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


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


def lasting_address(base_url: str) -> str:
    """Return an address as it names a strategy in records.

    On this machine without the port: a tunnel or a local server has another one at each start, and
    that is no reason to take its answers for another model's.
    """
    try:
        parts = urlsplit(base_url)
    except ValueError:
        return base_url
    return parts._replace(netloc=parts.hostname).geturl() if parts.hostname in _HERE else base_url


def open_client(
    endpoint: Endpoint,
    *,
    base_url: str | None = None,
    api_key: str | Secret | None = None,
    headers: HeaderValues | None = None,
    http: Http | None = None,
    verify: bool | str | ssl.SSLContext = True,
    proxy: str | None = None,
) -> HttpClient:
    """The HTTP client for one account at one server of *endpoint*'s kind.

    Raises:
        ConfigError: There is no address, or no key where one is needed.
    """
    key, api_key = None if api_key is None else Secret(api_key), None
    fields, headers = mask_headers(headers), None
    address = base_url or endpoint.base_url
    if not address:
        msg = f"{endpoint.provider} has no address of its own; give base_url"
        raise ConfigError(msg)
    # Behind a transport of the caller's own, the key may be a matter of that transport.
    if key is None and endpoint.needs_key and is_our_own(http):
        msg = f"{endpoint.provider} needs a key; give api_key"
        raise ConfigError(msg)
    fields = {name.lower(): value for name, value in fields.items()}
    if key is not None:
        fields.setdefault(endpoint.auth_header, key.after(endpoint.auth_prefix))
    return HttpClient(
        http,
        base_url=address,
        headers=fields,
        secrets=[] if key is None else [key],
        verify=verify,
        proxy=proxy,
    )
