"""Addresses of providers, how their keys are sent, and by which variables both are found."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any, TypedDict
from urllib.parse import urlsplit

from attrs import Factory, field, frozen

from batchllm.core import ConfigError, QuotaScope
from batchllm.transport import (
    ConnectionStats,
    HeaderValues,
    Http,
    HttpClient,
    Secret,
    is_our_own,
    mask_headers,
)

__all__ = [
    "Account",
    "Connected",
    "ConnectionOptions",
    "Endpoint",
    "ServerOptions",
    "lasting_address",
    "mask_options",
]


_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


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


def _variable(what: str) -> Callable[[Any], tuple[str, ...]]:
    return lambda endpoint: (f"{endpoint.provider.upper().replace('-', '_')}_{what}",)


@frozen(kw_only=True)
class Endpoint:
    """One provider's API: its address, and how it wants to be asked.

    Attributes:
        provider: Its name in ``llm("provider:model")``, quota scopes and messages.
        base_url: Its address; empty if it has to be given.
        auth_header: Carries the key, behind ``auth_prefix``.
        needs_key: If it refuses requests without one.
        headers: Pairs of name and value that every request needs.
        parameters: Names of parameters that may be given.
        wire_names: Pairs of a parameter's name and what the wire calls it.
        key_variables: Environment variables that may hold the key, the first that is set
            counts; by default ``<PROVIDER>_API_KEY``.
        address_variables: Environment variables that may hold the address, by default
            ``<PROVIDER>_BASE_URL``. What follows a slash is put behind the variable's value.
    """

    provider: str
    base_url: str = ""
    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    needs_key: bool = True
    headers: tuple[tuple[str, str], ...] = ()
    parameters: frozenset[str] = frozenset()
    wire_names: tuple[tuple[str, str], ...] = ()
    key_variables: tuple[str, ...] = field(default=Factory(_variable("API_KEY"), takes_self=True))
    address_variables: tuple[str, ...] = field(
        default=Factory(_variable("BASE_URL"), takes_self=True)
    )

    def wire_name(self, parameter: str) -> str:
        """Return what the wire calls *parameter*."""
        for name, wire_name in self.wire_names:
            if name == parameter:
                return wire_name
        return parameter

    def find_address(self, environment: Mapping[str, str]) -> str | None:
        """Return the address that *environment* gives, ``None`` if it gives none."""
        for entry in self.address_variables:
            name, slash, path = entry.partition("/")
            if address := environment.get(name):
                return f"{address.rstrip('/')}/{path}" if slash else address
        return None

    def find_key(self, environment: Mapping[str, str]) -> Secret | None:
        """Return the key that *environment* gives, ``None`` if it gives none."""
        keys = (environment.get(name) for name in self.key_variables)
        return next((Secret(key) for key in keys if key), None)


class ServerOptions(TypedDict, total=False):
    """The ways to reach a provider's server.

    Attributes:
        base_url: The server's address. By default the one that the provider's environment
            variable gives (such as ``OPENAI_BASE_URL``), else the provider's own.
        headers: Sent with every request.
        http: An ``HttpTransport`` to share, a transport or client of httpx or httpx2, or a
            proxy's address, in place of connections of its own.
        verify: See ``HttpClient``.
        proxy: See ``HttpClient``.
    """

    base_url: str | None
    headers: HeaderValues | None
    http: Http | None
    verify: bool | str | ssl.SSLContext
    proxy: str | None


class ConnectionOptions(ServerOptions, total=False):
    """The ways to reach a provider's server as one of its users.

    Attributes:
        api_key: The key; it never shows in messages or records.
    """

    api_key: str | Secret | None


def mask_options(options: ConnectionOptions) -> None:
    """Mask key and headers in *options* itself.

    To be called before anything can fail: a traceback shows what local variables hold.
    """
    key = options.get("api_key")
    if key is not None:
        options["api_key"] = Secret(key)
    options["headers"] = mask_headers(options.get("headers"))


@frozen
class Account:
    """One account at one server.

    Attributes:
        endpoint: The kind of server.
        http: Speaks to it.
        fingerprint: Distinguishes the account from others; empty without a key.
    """

    endpoint: Endpoint
    http: HttpClient
    fingerprint: str

    @classmethod
    def open(cls, endpoint: Endpoint, options: ConnectionOptions) -> Account:
        """Make the client for one account at one server of *endpoint*'s kind.

        Raises:
            ConfigError: There is no address, or no key though one is needed.
        """
        mask_options(options)
        provider, http = endpoint.provider, options.get("http")
        address = options.get("base_url") or endpoint.find_address(os.environ) or endpoint.base_url
        if not address:
            msg = f"{provider} has no address of its own; give base_url"
            raise ConfigError(msg)
        given = options.get("api_key")
        key = None if given is None else Secret(given)
        # A transport of the caller's own may add the key by itself.
        if key is None and endpoint.needs_key and is_our_own(http):
            msg = f"{provider} needs a key; give api_key"
            raise ConfigError(msg)
        fields = {**mask_headers(dict(endpoint.headers)), **mask_headers(options.get("headers"))}
        fields = {name.lower(): value for name, value in fields.items()}
        if key is not None:
            fields.setdefault(endpoint.auth_header, key.after(endpoint.auth_prefix))
        client = HttpClient(
            http,
            base_url=address,
            headers=fields,
            secrets=[] if key is None else [key],
            verify=options.get("verify", True),
            proxy=options.get("proxy"),
        )
        return cls(endpoint, client, "" if key is None else key.fingerprint())

    def scope_of(self, model: str) -> QuotaScope:
        """Return the quota that calls of *model* count against."""
        return QuotaScope(self.endpoint.provider, self.http.base_url, self.fingerprint, model)


class Connected:
    """Keeps the connections of an HTTP client open from ``prepare`` to ``cleanup``.

    Both may be called by several runs; the last ``cleanup`` closes the connections.
    """

    per_loop = True

    _client: HttpClient

    @property
    def http(self) -> HttpClient:
        """Return the client that speaks to the server."""
        return self._client

    async def prepare(self) -> None:
        """Keep connections open until the matching ``cleanup``."""
        self._client.hold()

    async def cleanup(self) -> None:
        """Close the connections, unless another run still holds them open."""
        await self._client.release()

    def connection_stats(self) -> Mapping[int, ConnectionStats]:
        """Return what became of the connections on the running loop, by transport."""
        return self._client.statistics()
