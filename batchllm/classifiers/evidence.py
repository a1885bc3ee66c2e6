"""The reply behind an exception of any library, read without importing that library.

Exceptions come from anywhere: attributes may be missing, of any type, or raise when they are
read. Whatever cannot be read counts as absent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import islice
from typing import Any, Final, cast

from attrs import evolve, frozen

from batchllm.core import ProviderError, ServerHint
from batchllm.policy import LONGEST, ErrorBody, read_error

__all__ = ["Evidence", "peek", "status_of", "words_of"]

_MOST_MESSAGE: Final = 4_096
"""Characters of a message that are searched: errors have some hundred, pages of HTML more."""
_MOST_HEADERS: Final = 200
"""Headers that are read: servers send some 30, a mock any number."""


def peek(value: object, name: str) -> Any:
    """Return the attribute *name* of *value*; ``None`` if it is missing or cannot be read."""
    try:
        return getattr(value, name, None)
    except Exception:  # a property of a foreign exception may raise anything
        return None


def words_of(exception: BaseException) -> str:
    """Return the message of *exception*, cut to 4,096 characters."""
    message = peek(exception, "message")
    if isinstance(message, str) and message:
        return message[:_MOST_MESSAGE]
    try:
        return str(exception)[:_MOST_MESSAGE]
    except Exception:  # a foreign __str__ may raise anything
        return ""


@frozen(kw_only=True)
class Evidence:
    """The reply that an exception stands for, as far as it is known.

    Attributes:
        status: The HTTP status, ``None`` if it is unknown. A reply of 200 with an error in
            its body has the status that the body names.
        codes: The provider's codes and types in lower case, the finest first.
        message: The provider's words, else the exception's.
        hint: The reported waits and limits.
    """

    status: int | None
    codes: tuple[str, ...]
    message: str
    hint: ServerHint

    @classmethod
    def of(cls, exception: BaseException) -> Evidence:
        """Read *exception*."""
        response = peek(exception, "response")
        body = _body(exception, response)
        names = (body.code, _text(peek(exception, "code")), body.kind)
        status = _status(exception, response)
        if status is None or status < 400:
            status = body.status or status
        return cls(
            status=status,
            codes=_codes(*names, *_own_names(exception)),
            message=body.message,
            hint=_hint(exception, response, status, body),
        )


def _own_names(exception: BaseException) -> tuple[str | None, ...]:
    if isinstance(exception, ProviderError):
        return (exception.code, exception.kind)
    return (_text(peek(exception, "status")), _text(peek(exception, "type")))


def _codes(*names: str | None) -> tuple[str, ...]:
    # Three digits are the status over again.
    given = (name.lower() for name in names if name and not (len(name) == 3 and name.isdigit()))
    return tuple(dict.fromkeys(given))


def _text(value: object) -> str | None:
    return value[:256] if isinstance(value, str) else None


def _status(exception: BaseException, response: object) -> int | None:
    found = (
        peek(exception, "status_code"),
        peek(exception, "status"),
        peek(exception, "code"),
        peek(exception, "http_status"),
        peek(response, "status_code"),
        peek(response, "status"),
        _item(_item(response, "ResponseMetadata"), "HTTPStatusCode"),
    )
    for value in found:
        if isinstance(value, int) and 100 <= value <= 599:
            return int(value)
    return None


def _item(value: object, key: str) -> object:
    return cast("dict[str, Any]", value).get(key) if type(value) is dict else None


def _body(exception: BaseException, response: object) -> ErrorBody:
    """Read the body where SDKs keep it: on the exception, else on the response it carries."""
    for name in ("body", "details", "error", "response_json"):
        value = peek(exception, name)
        if isinstance(value, dict | list | str | bytes) and value:
            body = ErrorBody.read(value)
            if body.message or body.code or body.kind or body.status:
                return _with_message(body, exception)
    if type(response) is dict:
        return _with_message(ErrorBody.read({"error": _item(response, "Error")}), exception)
    if peek(response, "_content") is False:
        return _with_message(ErrorBody(), exception)  # requests would go and read the network
    content = peek(response, "content")
    if not isinstance(content, bytes):
        content = peek(response, "text")
    read = ErrorBody.read(content)
    return _with_message(read, exception)


def _with_message(body: ErrorBody, exception: BaseException) -> ErrorBody:
    """Let the exception speak where the body has no message."""
    if body.message:
        return body
    return evolve(body, message=words_of(exception))


def _hint(
    exception: BaseException, response: object, status: int | None, body: ErrorBody
) -> ServerHint:
    given = peek(exception, "hint")
    if isinstance(given, ServerHint):
        return given
    hint = read_error(status, _headers(exception, response), body, now_wall=time.time())
    wait = peek(exception, "retry_after")
    if hint.wait is None and isinstance(wait, int | float) and 0 < wait < math.inf:
        return evolve(hint, wait=min(float(wait), LONGEST))
    return hint


def _headers(exception: BaseException, response: object) -> dict[str, str]:
    places = (
        peek(response, "headers"),
        peek(exception, "headers"),
        _item(_item(response, "ResponseMetadata"), "HTTPHeaders"),
    )
    for headers in places:
        items = peek(headers, "items")
        if callable(items):
            return _strings(items)
    return {}


def _strings(items: Callable[[], Any]) -> dict[str, str]:
    try:
        pairs = list(islice(items(), _MOST_HEADERS))
        return {k: v for k, v in pairs if isinstance(k, str) and isinstance(v, str)}
    except Exception:  # what calls itself headers may be anything
        return {}


def status_of(exception: BaseException) -> int | None:
    """Return the HTTP status that *exception* stands for, if it shows one."""
    try:
        return Evidence.of(exception).status if isinstance(exception, Exception) else None
    except Exception:  # so odd an object that even isinstance() raises
        return None
