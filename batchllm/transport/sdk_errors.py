"""The errors of SDKs' clients, which repeat what a server said, without the clients' keys.

An SDK raises its own exceptions, with the server's words in their arguments and fields. They are
passed on as they are, since a user's code may look for them, but for the keys in them. What its
parser of JSON raises is the exception: it says nothing of a provider, and looks like a wrong answer
of the model, for which the call is made again at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from json import JSONDecodeError
from types import TracebackType
from typing import Any, Final

from attrs import frozen

from batchllm.core import MalformedResponseError
from batchllm.transport.border import chain_of
from batchllm.transport.foreign import secrets_of_client
from batchllm.transport.head import secrets_of
from batchllm.transport.redact import Redactor, beginning
from batchllm.transport.secret import Secret

__all__ = ["WithoutKeys"]

_NAMES: Final = ("api_key", "auth_token", "_azure_ad_token")
_DEEPEST: Final = 20
"""Levels of an error's body that are looked at; those of providers have five."""


@frozen
class WithoutKeys:
    """Mask the keys of an SDK's *client* in what the block raises, and name what is no JSON.

    Not by ``contextlib.contextmanager``, which sets a field of the exception: it may refuse that.

    Args:
        client: Such as an ``openai.AsyncOpenAI`` or a ``google.genai.Client``. Of another object
            no key is known, and what has the shape of one is masked.
    """

    client: Any

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            # Read now, since a client may be given another key at any time.
            redact = Redactor(_secrets_of_sdk(self.client))
            for each in chain_of(error, set()):
                _mask(each, redact)
            if isinstance(error, JSONDecodeError):
                said = beginning(error.doc, redact)
                msg = f"the client found no JSON in the server's answer ({error}): {said!r}"
                raise MalformedResponseError(msg, status=200) from None


def _secrets_of_sdk(client: Any) -> list[Secret]:
    keys = [getattr(client, name, None) for name in _NAMES]
    keys.append(getattr(getattr(client, "_api_client", None), "api_key", None))
    secrets = [Secret(key) for key in keys if isinstance(key, str)]
    headers = getattr(client, "_custom_headers", None)
    if isinstance(headers, Mapping):
        secrets += secrets_of({str(k): v for k, v in headers.items() if isinstance(v, str)})
    return secrets + secrets_of_client(getattr(client, "_client", None))


def _mask(error: BaseException, redact: Redactor) -> None:
    with suppress(Exception):  # others' exceptions may refuse any assignment
        error.args = _masked(error.args, redact)
    with suppress(Exception):
        fields = error.__dict__
        fields.update({name: _masked(value, redact) for name, value in fields.items()})


def _masked(value: Any, redact: Redactor, depth: int = 0) -> Any:
    """Return *value* with keys masked in all texts of it."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bytes):
        return redact.known.masked_bytes(value)
    if depth < _DEEPEST and type(value) in (list, tuple):
        return type(value)(_masked(one, redact, depth + 1) for one in value)
    if depth < _DEEPEST and type(value) is dict:
        fields: dict[Any, Any] = value
        return {k: _masked(v, redact, depth + 1) for k, v in fields.items()}
    return value
