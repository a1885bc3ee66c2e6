"""Error replies, as ``ProviderError``s that say who refused what, why, and what to do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from batchllm.core import ProviderError
from batchllm.policy import ErrorBody, read_error

__all__ = ["Peer", "error_reply", "request_id_of"]

_IDS: Final = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-generation-id",
    "mistral-correlation-id",
    "x-amzn-requestid",
)
_ADVICE: Final = {
    401: "check the API key",
    403: "check what the API key may do",
    404: "check the model's name and base_url",
    413: "the request is too large; shorten the prompt",
}
_MOST_SHOWN: Final = 500
_NOTHING_THERE: Final = frozenset({404, 405})
"""The answers of web servers and gateways to a path that they do not know."""


class Peer(Protocol):
    """The side that answered: an ``HttpClient``, or a stand-in for another library's client."""

    @property
    def host(self) -> str:
        """Named in messages."""
        ...

    @property
    def redact(self) -> Any:
        """Takes keys out of a text."""
        ...


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the provider's id of a request, from its reply's headers."""
    for name in _IDS:
        if name in headers:
            return headers[name]
    return None


def error_reply(
    provider: str,
    client: Peer,
    status: int,
    headers: Mapping[str, str],
    body: object,
    usual: str = "",
) -> ProviderError:
    """Make the error for a reply that is one.

    Args:
        provider: Named in the message, with the host.
        client: Whose keys the message must not show.
        status: HTTP status; 200 where the error is inside a successful reply or stream, which
            the status that the body itself gives then replaces.
        headers: The reply's.
        body: Bytes or parsed JSON.
        usual: The provider's own address, as an example for one that is wrong.
    """
    said = ErrorBody.read(body)
    refused = status if status != 200 else said.status
    hint = read_error(refused, headers, said, now_wall=time.time())
    if status == 200 and said.status is not None:
        status = said.status
    request_id = request_id_of(headers)
    wrong_address = status in _NOTHING_THERE and not said.is_of_an_api
    code = said.code or said.kind
    msg = f"{provider} ({client.host}) answered {status}"
    if code:
        msg += f" {client.redact(code)[:_MOST_SHOWN]}"
    msg += f": {client.redact(_shown(said.message))}"
    if 300 <= status < 400:
        msg += (
            "; redirects are not followed, so set base_url to where it is now: "
            f"{client.redact(headers.get('location', 'unknown'))[:_MOST_SHOWN]}"
        )
    elif wrong_address:
        msg += f"; {_about_the_address(provider, client, usual)}"
    elif status in _ADVICE:
        msg += f"; {_ADVICE[status]}"
    if request_id:
        msg += f" (request id {client.redact(request_id)[:_MOST_SHOWN]})"
    return ProviderError(
        msg,
        status=status,
        code=_cleaned(said.code, client),
        kind=_cleaned(said.kind, client),
        hint=hint,
        request_id=_cleaned(request_id, client),
        wrong_address=wrong_address,
    )


def _about_the_address(provider: str, client: Peer, usual: str) -> str:
    """Say that no API is at this address, and what a right one looks like."""
    given = getattr(client, "base_url", "")
    at = f"at {client.redact(given)}" if given else "there"
    if not usual:
        example = "mostly ends in /v1, as in 'http://localhost:8000/v1'"
    elif urlsplit(usual).path.strip("/"):
        example = f"ends like {usual!r}"
    else:
        example = f"looks like {usual!r}, with no path such as /v1 behind it"
    return f"no API answers {at}; a base_url for {provider} {example}"


def _cleaned(text: str | None, client: Peer) -> str | None:
    return None if text is None else str(client.redact(text))[:_MOST_SHOWN]


def _shown(message: str) -> str:
    text = " ".join(message.split()).rstrip(".")
    if not text:
        return "no reason given"
    if text.startswith("<"):
        return "an HTML page, as gateways and proxies send it"
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"
