"""The evidence of a whole error reply: status, headers and body together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from batchllm.core import LimitHint, ServerHint
from batchllm.policy.hints.error_body import ErrorBody
from batchllm.policy.hints.headers import ReplyClock, read_headers
from batchllm.policy.hints.words import read_details, read_message

__all__ = ["read_error"]

_BUSY: Final = (429, 503, 529)
_SILENCE: Final = ServerHint()


def read_error(
    status: int | None,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    *,
    now_wall: float | None = None,
) -> ServerHint:
    """Read an error reply.

    The order of precedence for a wait is ``retry-after-ms``, ``retry-after``,
    ``x-amz-retry-after``, Google's ``RetryInfo``, the message, and last the reset of a limit of
    which nothing remains.

    Args:
        status: HTTP status, ``None`` if there was none.
        headers: Names in any case.
        body: Parsed JSON, text, bytes or an ``ErrorBody``.
        now_wall: Seconds since 1970, for absolute times in a reply without ``Date``.

    Returns:
        The hint, empty if the reply says nothing. On 429, 503 and 529 the reset of a limit
        of which nothing remains counts as a wait if nothing better is reported. A daily quota
        that is used up, or an empty account, is ``exhausted``. A refusal that names a cap on
        parallel calls has no wait: what it waits for is the end of another call.
    """
    given = headers or {}
    reported = (read_headers(given, now_wall=now_wall) if given else None) or _SILENCE
    error = body if isinstance(body, ErrorBody) else ErrorBody.read(body)
    details = read_details(error)
    message = read_message(error.message, ReplyClock(given, now_wall))
    limits = (
        *reported.limits,
        *_unnamed(details.limits or _fitting(message.limits, error), reported.limits),
    )
    # A daily quota comes with a delay of seconds that would only meet the next refusal.
    exhausted = details.exhausted or message.exhausted
    written = details.wait or (None if details.exhausted else message.wait)
    wait = _most_exact(reported.wait, written)
    if wait is None and not exhausted and status in _BUSY:
        wait = _longest_reset(limits)
    hint = ServerHint(wait=wait, limits=limits, exhausted=exhausted, retry=reported.retry)
    if hint.names_parallel_cap:
        # LiteLLM asks for a minute, and has a place again as soon as one call ends.
        return ServerHint(limits=limits, exhausted=exhausted, retry=reported.retry)
    return hint


def _most_exact(header: float | None, written: float | None) -> float | None:
    """Prefer the header, unless it is only what the body says, rounded up to whole seconds."""
    if header is None or written is None:
        return header or written
    return written if header - 1 < written <= header else header


def _fitting(limits: tuple[LimitHint, ...], error: ErrorBody) -> tuple[LimitHint, ...]:
    """Leave out a message that names other units than the type beside it."""
    kind = error.kind
    if kind not in ("requests", "tokens"):
        return limits
    return tuple(one for one in limits if (one.dimension == "requests") == (kind == "requests"))


def _unnamed(
    limits: tuple[LimitHint, ...], in_headers: tuple[LimitHint, ...]
) -> tuple[LimitHint, ...]:
    """Leave out what the headers of the same reply report more exactly."""
    known = {one.dimension for one in in_headers if one.amount is not None}
    return tuple(one for one in limits if one.dimension not in known)


def _longest_reset(limits: tuple[LimitHint, ...]) -> float | None:
    resets = (one.reset for one in limits if one.remaining == 0 and one.reset is not None)
    return max(resets, default=None)
