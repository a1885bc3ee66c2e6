"""Refusals read: the answers that lines get by them, and the limits and pauses that they name."""

from __future__ import annotations

import json
import re
from typing import Final

from batchllm.core import CallError, ProviderError
from batchllm.provider_batch.rows import Answer, LineState
from batchllm.provider_batch.verdicts import BatchProblem, is_about_the_account

__all__ = [
    "bad_line_answer",
    "failed_answer",
    "hint_of",
    "is_of_the_account",
    "is_settled_refusal",
    "is_too_large",
    "limit_in",
    "text_of",
]

_LIMIT: Final = re.compile(r"[Ll]imit:?\s*(?:of\s*)?([\d][\d,._]*)\s*([KkMmBb])?\b")
_UNITS: Final = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}


def failed_answer(error: CallError) -> Answer:
    """Return the answer of each line of a chunk that was refused as a whole."""
    status = error.status if isinstance(error, ProviderError) else 400
    code = error.code if isinstance(error, ProviderError) else None
    body = {"error": {"message": str(error), "code": code, "type": "invalid_request_error"}}
    text = json.dumps({"status": status, "body": body})
    return Answer(LineState.ANSWERED, "", answer=text)


def bad_line_answer(problem: BatchProblem) -> Answer:
    """Return the answer of a line that the provider did not take."""
    error = {"message": problem.message, "code": problem.code or None}
    body = {"error": {**error, "type": "invalid_request_error"}}
    text = json.dumps({"status": 400, "body": body})
    return Answer(LineState.ANSWERED, "", answer=text)


def is_too_large(error: CallError) -> bool:
    """Return whether less of the same might be taken."""
    return isinstance(error, ProviderError) and error.status == 413


def is_of_the_account(error: ProviderError) -> bool:
    """Return whether an answer is about the key, what it may do, or the bill."""
    refused = error.status in (400, 429) and is_about_the_account(text_of(error))
    return refused or error.status in (401, 402, 403)


def is_settled_refusal(error: ProviderError) -> bool:
    """Return whether a batch cannot be cancelled, since it has ended or is being cancelled."""
    return 400 <= error.status < 500 and error.status not in (401, 403, 408, 429)


def text_of(error: ProviderError) -> str:
    """Return code, kind and message of an error, for the words that are looked for in them."""
    return " ".join(part for part in (error.code, error.kind, str(error)) if part)


def hint_of(error: Exception) -> float | None:
    """Return the seconds that a refusal asks to wait; ``None`` of any other error."""
    return error.hint.wait if isinstance(error, ProviderError) and error.hint else None


def limit_in(text: str) -> float | None:
    """Return the limit on tokens that a refusal names, such as ``Limit: 2,000,000 enqueued``."""
    found = _LIMIT.search(text)
    if found is None or ("metric:" in text and "token" not in text):
        return None  # Google names the metric of a quota, and most are no tokens
    digits = re.sub(r"[,_]", "", found[1]).rstrip(".")
    try:
        return float(digits) * _UNITS[(found[2] or "").lower()] or None
    except ValueError:
        return None
