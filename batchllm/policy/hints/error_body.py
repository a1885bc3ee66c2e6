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


@frozen(kw_only=True)
class ErrorBody:
    """The content of an error body.

    Attributes:
        message: For people, cut to 4,096 characters.
        code: For programs, such as ``"insufficient_quota"`` or ``"RESOURCE_EXHAUSTED"``.
        kind: The provider's error type, such as ``"invalid_request_error"``.
        status: The HTTP status that a reply puts into its body.
        details: Google's list of details.
    """

    message: str = ""
    code: str | None = None
    kind: str | None = None
    status: int | None = None
    details: tuple[dict[str, Any], ...] = field(default=(), repr=False)

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
        if isinstance(inner, str):
            return cls(message=_cut(inner))
        details = _details(inner)
        code, status = _code(inner)
        return cls(
            message=_message(inner),
            code=_reason(details) or code,
            kind=_text(inner.get("type")),
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


def _innermost(outer: dict[str, Any]) -> dict[str, Any] | str:
    """Follow ``error`` (and the ``response`` of a failed stream event) down to what it holds."""
    here = outer
    for _ in range(_MOST_NESTING):
        below = here.get("error") or here.get("response")
        if isinstance(below, str):
            return below
        if not isinstance(below, dict):
            break
        here = cast("dict[str, Any]", below)
    return here


def _message(inner: dict[str, Any]) -> str:
    for name in ("message", "detail", "Message", "error_description"):
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
    code = inner.get("code", inner.get("Code"))
    status = None
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
        code = int(code)
    if isinstance(code, int) and not isinstance(code, bool) and 100 <= code <= 599:
        status, code = code, None
    return _text(code) or _text(inner.get("status")), status


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
