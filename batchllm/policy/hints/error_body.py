"""The body of an error reply, read once: message, code, type and details, whatever the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from attrs import field, frozen

from batchllm.policy.json_reading import JsonError, decode_text, mended_text, read_json

__all__ = ["ErrorBody"]

_MOST_TEXT: Final = 65_536
_MOST_MESSAGE: Final = 4_096
_MOST_NESTING: Final = 4
_WRAPS: Final = ("error", "response")
# Of gateways (Cloudflare, Apigee, FastAPI), if there is no message beside them.
_OTHER_WRAPS: Final = ("errors", "fault", "detail", "base_resp")
_MESSAGES: Final = (
    *("message", "detail", "Message", "error_description", "msg", "error_msg", "error_message"),
    *("faultstring", "status_msg", "title", "reason"),
)
_CODES: Final = (
    *("code", "Code", "error_code", "statusCode", "status_code", "raw_status_code", "status"),
)


@frozen(kw_only=True)
class ErrorBody:
    """The content of an error body.

    Attributes:
        message: For people, cut to 4,096 characters.
        code: For programs, such as ``"insufficient_quota"`` or ``"RESOURCE_EXHAUSTED"``.
        kind: The provider's error type, such as ``"invalid_request_error"``.
        status: The HTTP status that a reply puts into its body.
        details: Google's list of details.
        is_of_an_api: Whether it is an error as APIs send it: an object with an ``error``, a code or
            a type. Web servers and gateways send pages, plain words, or a lone ``detail``.
    """

    message: str = ""
    code: str | None = None
    kind: str | None = None
    status: int | None = None
    details: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    is_of_an_api: bool = False

    @classmethod
    def read(cls, body: object) -> ErrorBody:
        """Read parsed JSON, its text or bytes, or any text; anything else is empty."""
        body = _parsed(body)
        if isinstance(body, str):
            return cls(message=_cut(body))
        if not isinstance(body, dict):
            return cls()
        outer = cast("dict[str, Any]", body)
        inner = _innermost(outer)
        details = _details(inner)
        code, status = _code(inner)
        kind = _text(inner.get("type")) or _text(inner.get("error_type"))
        return cls(
            message=_message(inner),
            code=_reason(details) or code,
            kind=kind,
            is_of_an_api=inner is not outer or bool(code or kind),
            status=status,
            details=details,
        )


def _parsed(body: object) -> object:
    if isinstance(body, bytes | bytearray):
        body = decode_text(bytes(body[:_MOST_TEXT]))
    if isinstance(body, str) and body[:64].lstrip()[:1] in ("{", "["):
        try:
            body = read_json(body[:_MOST_TEXT])
        except JsonError:
            return body
    if isinstance(body, list) and body:
        # Gemini without SSE sends a list whose one element is the error.
        return cast("Sequence[Any]", body)[0]
    return body


def _innermost(outer: dict[str, Any]) -> dict[str, Any]:
    """Follow ``error``, and what else errors are wrapped in, down to what it holds."""
    here = outer
    for _ in range(_MOST_NESTING):
        wraps = _WRAPS if _message(here) else (*_WRAPS, *_OTHER_WRAPS)
        below = next((value for name in wraps if (value := here.get(name))), None)
        if isinstance(below, list):
            below = cast("Sequence[Any]", below)[0]
        if isinstance(below, str):
            beside = {name: value for name, value in here.items() if value != "error"}
            return {**beside, "message": below}
        if not isinstance(below, dict):
            break
        here = cast("dict[str, Any]", below)
    return here


def _message(inner: dict[str, Any]) -> str:
    for name in _MESSAGES:
        value = inner.get(name)
        if isinstance(value, str) and value:
            return _cut(value + _upstream(inner))
    return _cut(_upstream(inner))


def _cut(text: str) -> str:
    # The body may be parsed already, by an SDK that leaves halves of pairs in its texts.
    return mended_text(text[:_MOST_MESSAGE])


def _upstream(inner: dict[str, Any]) -> str:
    """Give what OpenRouter passes on from the provider behind it."""
    metadata = inner.get("metadata")
    raw = cast("dict[str, Any]", metadata).get("raw") if isinstance(metadata, dict) else None
    return f" {raw}" if isinstance(raw, str) else ""


def _code(inner: dict[str, Any]) -> tuple[str | None, int | None]:
    """Separate code and status: Azure, vLLM, OpenRouter and Google repeat the status as code."""
    given = [inner.get(name) for name in _CODES]
    # The first one that is a status; of error=429 the number itself.
    status = next(filter(None, map(_status, (*given, inner.get("error")))), None)
    texts = (value for value in given if _status(value) is None)
    return next(filter(None, map(_text, texts)), None), status


def _status(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    is_one = isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599
    return cast("int", value) if is_one else None


def _text(value: object) -> str | None:
    return _cut(value) if isinstance(value, str) and value else None


def _details(inner: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    details = inner.get("details")
    if not isinstance(details, list):
        return ()
    return tuple(one for one in cast("Sequence[Any]", details)[:32] if isinstance(one, dict))


def _reason(details: tuple[dict[str, Any], ...]) -> str | None:
    """Give the reason of Google's ``ErrorInfo``, which is finer than its status."""
    for detail in details:
        if str(detail.get("@type", ""))[-20:].endswith("ErrorInfo"):
            return _text(detail.get("reason"))
    return None
