"""Gemini's descriptions of batches and their lines, read: pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from batchllm.provider_batch.names import metadata_in
from batchllm.provider_batch.verdicts import (
    BatchProblem,
    LineKind,
    LineOutcome,
    is_about_the_account,
)
from batchllm.provider_batch.wires.base import RemoteBatch, RemoteKind
from batchllm.provider_batch.wires.controlled import text_in, time_of

__all__ = ["read_batch", "read_row"]

# -- codes of gRPC ---------------------------------------------------------------------------------

_CODES: Final[Mapping[int, tuple[str, int]]] = MappingProxyType(
    {
        1: ("CANCELLED", 499),
        2: ("UNKNOWN", 500),
        3: ("INVALID_ARGUMENT", 400),
        4: ("DEADLINE_EXCEEDED", 504),
        5: ("NOT_FOUND", 404),
        6: ("ALREADY_EXISTS", 409),
        7: ("PERMISSION_DENIED", 403),
        8: ("RESOURCE_EXHAUSTED", 429),
        9: ("FAILED_PRECONDITION", 400),
        10: ("ABORTED", 409),
        11: ("OUT_OF_RANGE", 400),
        12: ("UNIMPLEMENTED", 501),
        13: ("INTERNAL", 500),
        14: ("UNAVAILABLE", 503),
        15: ("DATA_LOSS", 500),
        16: ("UNAUTHENTICATED", 401),
    }
)
"""By the number that errors in batches have: the name, and the status that the error has online."""
_BY_NAME: Final = MappingProxyType(dict(_CODES.values()))
_BY_STATUS: Final = MappingProxyType(
    {status: name for name, status in reversed(tuple(_CODES.values()))}
)
_ABSENT: Final = "may not exist"
"""Part of Google's words about a file that a request names: they have the code of a permission, and
are about that request alone."""


def _code_of(error: Mapping[str, Any]) -> tuple[str, int]:
    """Return the name of an error, and the status that it would have online; 0 if it has none."""
    code, name = error.get("code"), str(error.get("status") or "").upper()
    if isinstance(code, str) and code.strip().lstrip("-").isdigit():
        code = int(code)
    if type(code) is int and code in _CODES:
        return _CODES[code]
    # Some have the status of HTTP in the place of gRPC's code, and some a name alone.
    if type(code) is int and 400 <= code < 600:
        return name or _BY_STATUS.get(code, "UNKNOWN"), code
    name = name or str(code or "").upper()
    return name, _BY_NAME.get(name, 0)


# -- batches ---------------------------------------------------------------------------------------

_KINDS: Final[Mapping[str, RemoteKind]] = MappingProxyType(
    {
        "UNSPECIFIED": RemoteKind.WAITING,
        "PENDING": RemoteKind.WAITING,
        "QUEUED": RemoteKind.WAITING,
        "RUNNING": RemoteKind.RUNNING,
        "UPDATING": RemoteKind.RUNNING,
        "PAUSED": RemoteKind.RUNNING,
        "CANCELLING": RemoteKind.CANCELLING,
        "CANCELING": RemoteKind.CANCELLING,
        "SUCCEEDED": RemoteKind.DONE,
        "PARTIALLY_SUCCEEDED": RemoteKind.DONE,
        "CANCELLED": RemoteKind.PARTIAL,
        "CANCELED": RemoteKind.PARTIAL,
        "EXPIRED": RemoteKind.PARTIAL,
        "FAILED": RemoteKind.REJECTED,
    }
)
_PREFIXES: Final = ("BATCH_STATE_", "JOB_STATE_")
_NAMED_WITHIN: Final = 3_600.0
"""Seconds from the end of a batch after which its results, if they have no name, are given up."""
_FAULTS: Final = frozenset({"", "ABORTED", "DATA_LOSS", "DEADLINE_EXCEEDED", "INTERNAL"}) | {
    "UNAVAILABLE",
    "UNKNOWN",
}
"""Ends of a whole batch that are no fault of its requests, so that these may go into another."""


def read_batch(
    given: Mapping[str, Any], *, is_listed: bool = False, now: float | None = None
) -> RemoteBatch:
    """Read the description of a batch: an operation, or the batch without one around it.

    A state that is not known is no end: the next poll may know better.

    Args:
        given: The JSON.
        is_listed: Whether it comes from a list, where results may be left out.
        now: The provider's time in seconds since 1970, if it is known.

    Raises:
        MalformedResponseError: It has no name, so that it describes nothing.
    """
    about = _object(given.get("metadata")) or given
    name = text_in({**about, **given}, "name", "a batch")
    error = _object(given.get("error"))
    status = str(about.get("state") or "")
    state = _state(status, error, is_done=given.get("done") is True)
    kind = _KINDS.get(state, RemoteKind.RUNNING)
    outputs = _outputs(given, about)
    problem = _problem(error)
    if kind is RemoteKind.REJECTED and (problem is None or problem.code in _FAULTS):
        kind = RemoteKind.PARTIAL
    if kind is RemoteKind.DONE and not outputs and not is_listed:
        # The state may be there before the name of the results: what was done must not be lost.
        ended = time_of(about.get("endTime"))
        if ended is None or now is None or now - ended < _NAMED_WITHIN:
            kind = RemoteKind.RUNNING
    total, done = _counts(_object(about.get("batchStats")))
    source = _object(about.get("inputConfig")).get("fileName")
    return RemoteBatch(
        id=name,
        kind=kind,
        status=status or state,
        created=time_of(about.get("createTime")),
        total=total,
        done=done,
        expired=state == "EXPIRED",
        cancelled=state in ("CANCELLED", "CANCELED"),
        outputs=outputs,
        problems=() if problem is None else (problem,),
        metadata=metadata_in(str(about.get("displayName") or "")),
        file_id=source if isinstance(source, str) else None,
    )


def _state(status: str, error: Mapping[str, Any], *, is_done: bool) -> str:
    """Return a state without its prefix; where only the operation says the end, from that."""
    state = status.upper()
    for prefix in _PREFIXES:
        state = state.removeprefix(prefix)
    kind = _KINDS.get(state)
    if not is_done or (kind is not None and kind.ended):
        return state
    if error:
        return "CANCELLED" if _code_of(error)[0] == "CANCELLED" else "FAILED"
    return "SUCCEEDED"


def _outputs(given: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the name of the file of results, which stands in one of two places, or in both."""
    for place in (about.get("output"), given.get("response"), about.get("dest")):
        inner = _object(place)
        for found in (inner, _object(inner.get("output"))):
            name = found.get("responsesFile") or found.get("fileName")
            if isinstance(name, str) and name:
                return (name,)
    return ()


def _counts(stats: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return how many requests there are, and how many are done: a count of zero is left out."""
    total = _count(stats.get("requestCount"))
    if total is None:
        return None, None
    names = ("successfulRequestCount", "failedRequestCount")
    return total, sum(_count(stats.get(name)) or 0 for name in names)


def _count(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if type(value) is int else None


def _problem(error: Mapping[str, Any]) -> BatchProblem | None:
    if not error:
        return None
    name, _ = _code_of(error)
    return BatchProblem(name, str(error.get("message") or ""))


# -- lines -----------------------------------------------------------------------------------------


def read_row(name: str | None, row: Mapping[str, Any]) -> LineOutcome:
    """Read a line of results: it has a response, or an error."""
    response, error = row.get("response"), row.get("error")
    if isinstance(response, dict) and _is_answer(response):
        body = _with_usage(response)
        request_id = response.get("responseId")
        return LineOutcome(
            custom_id=name,
            kind=LineKind.OK,
            status=200,
            body=body,
            request_id=request_id if isinstance(request_id, str) else None,
        )
    if isinstance(error, dict) and error:
        return _failed(name, error)
    text = str(error) if error else "neither answer nor error"
    return LineOutcome(custom_id=name, kind=LineKind.UNKNOWN, text=text)


def _is_answer(response: Mapping[str, Any]) -> bool:
    """Return whether it is an answer: a prompt that was blocked has no candidates."""
    return any(response.get(part) for part in ("candidates", "promptFeedback", "embedding"))


def _with_usage(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """Let the tokens of a vector stand where those of an answer do."""
    tokens = _count(response.get("tokenCount"))
    if tokens is None or "usageMetadata" in response:
        return response
    return {**response, "usageMetadata": {"promptTokenCount": tokens}}


def _failed(name: str | None, error: Mapping[str, Any]) -> LineOutcome:
    code, status = _code_of(error)
    message = str(error.get("message") or "")
    if status == 403 and _ABSENT in message:
        code, status = "NOT_FOUND", 404
    text = ": ".join(part for part in (code, message) if part)
    if code == "CANCELLED":
        return LineOutcome(custom_id=name, kind=LineKind.NOT_RUN, text=text)
    if status in (401, 403) or is_about_the_account(text):
        return LineOutcome(custom_id=name, kind=LineKind.ACCOUNT, status=status, text=text)
    if not status:
        return LineOutcome(custom_id=name, kind=LineKind.UNKNOWN, text=text or "an error")
    details = error.get("details") or []
    inner = {"code": status, "message": message, "status": code, "details": details}
    return LineOutcome(
        custom_id=name,
        kind=LineKind.HTTP_ERROR,
        status=status,
        body={"error": inner},
        text=text,
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
