"""The one place where a key is put into bytes: heads of requests, written once and kept.

Everywhere above, header values travel as ``Secret``, which shows as ``***``; the objects here
show nothing of what they hold, and no traceback reaches into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from batchllm.core import ConfigError
from batchllm.transport.secret import Secret

__all__ = ["HeaderValues", "RequestHead", "for_another_process", "mask_headers", "secrets_of"]

HeaderValues = Mapping[str, "str | Secret"]

_MOST_PREFIXES: Final = 64
"""Paths whose heads are kept; those of resources and pages are too many."""

# What these say is no secret, and would take plain words out of messages.
_PUBLIC: Final = frozenset(
    {
        *("accept", "accept-encoding", "content-type", "user-agent", "host", "http-referer"),
        *("referer", "x-title", "anthropic-version", "anthropic-beta", "openai-beta"),
        *("openai-organization", "openai-project", "x-goog-user-project", "x-stainless-lang"),
        *("connection", "content-length"),
    }
)


def mask_headers(headers: Mapping[str, Any] | None) -> dict[str, Secret]:
    """Return *headers* with every value masked, so that no frame shows one."""
    return {name: Secret(value) for name, value in (headers or {}).items()}


def _is_public(name: str) -> bool:
    """Return whether a header of this name never carries a key."""
    return name.lower() in _PUBLIC


def secrets_of(headers: HeaderValues) -> list[Secret]:
    """Return the values that messages must not show, those of headers known to be public apart."""
    return [
        _without_scheme(Secret(given)) for name, given in headers.items() if not _is_public(name)
    ]


def _without_scheme(value: Secret) -> Secret:
    """Return what follows a scheme such as ``Bearer``."""
    scheme, _, rest = value.reveal().partition(" ")
    return Secret(rest) if rest and scheme.isalpha() else value


def for_another_process(name: str, value: Secret) -> str | Secret:
    """Return what a pickle may have of a header's value.

    Raises:
        TypeError: It is a key of which it is not known where it came from.
    """
    if _is_public(name):
        return value.reveal()
    if value.can_be_read_again:
        return value
    msg = (
        f"a client whose header {name!r} was given cannot be pickled, since a pickle must not "
        "have a key; name the model by llm(), which reads its key from the environment again"
    )
    raise TypeError(msg)


class RequestHead:
    """Writes the heads of requests to one host.

    Args:
        host: For the ``Host`` header.
        headers: Sent with every request; a name in any case.

    Raises:
        ConfigError: A header has characters that HTTP does not allow.
    """

    __slots__ = ("_fields", "_prefixes")

    def __init__(self, host: str, headers: HeaderValues) -> None:
        fields: dict[str, Secret] = {"host": Secret(host)}
        fields.update((name.lower(), Secret(value)) for name, value in headers.items())
        check_headers(fields)
        self._fields = fields
        self._prefixes: dict[tuple[str, str], bytes] = {}

    def fields(self, headers: HeaderValues | None = None) -> list[tuple[bytes, bytes]]:
        """Return the headers in plain, for a request of another library's.

        Args:
            headers: Of this request alone; they take the place of the usual ones.
        """
        return _encoded({**self._fields, **_named(headers or {})})

    def write(
        self, method: str, target: str, length: int, headers: HeaderValues | None = None
    ) -> bytes:
        """Return the head of a request.

        Args:
            method: Such as ``"POST"``.
            target: Path and query.
            length: Of the body, in bytes.
            headers: Of this request alone.

        Raises:
            ConfigError: A header has characters that HTTP does not allow.
        """
        if headers:
            prefix = self._start(method, target, {**self._fields, **_named(headers)})
        else:
            prefix = self._prefixes.get((method, target)) or self._prefix(method, target)
        return b"%b%d\r\n\r\n" % (prefix, length)

    def _prefix(self, method: str, target: str) -> bytes:
        prefix = self._start(method, target, self._fields)
        if method == "POST" and len(self._prefixes) < _MOST_PREFIXES:
            self._prefixes[method, target] = prefix
        return prefix

    def _start(self, method: str, target: str, fields: Mapping[str, Secret]) -> bytes:
        if not target.isascii() or not target.isprintable() or " " in target:
            msg = f"the path {target!r} has characters that HTTP does not allow; encode them"
            raise ConfigError(msg)
        start = f"{method} {target} HTTP/1.1\r\n".encode("ascii")
        return _lines(_encoded(fields), start) + b"content-length: "


def _named(headers: HeaderValues) -> dict[str, Secret]:
    """Return headers under their names in lower case.

    Raises:
        ConfigError: One has characters that HTTP does not allow.
    """
    named = {name.lower(): Secret(value) for name, value in headers.items()}
    check_headers(named)
    return named


def check_headers(headers: Mapping[str, Secret]) -> None:
    """Pass if HTTP allows each header's name and value.

    Raises:
        ConfigError: One is not allowed; the message shows its name and not its value.
    """
    for name, value in headers.items():
        if not _is_allowed(name, value):
            msg = f"the header {name!r} has characters that HTTP does not allow; check its value"
            raise ConfigError(msg)


def _is_allowed(name: str, value: Secret) -> bool:
    plain = value.reveal()
    named = name.isascii() and name.isprintable() and not any(one in name for one in " :")
    return bool(name) and named and plain.isascii() and plain.isprintable()


def _encoded(headers: Mapping[str, Secret]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.reveal().encode()) for name, value in headers.items()]


def _lines(fields: list[tuple[bytes, bytes]], start: bytes) -> bytes:
    return start + b"".join(b"%b: %b\r\n" % field for field in fields)
