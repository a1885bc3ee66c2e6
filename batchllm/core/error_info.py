"""The meaning of an exception for the item whose call raised it, and for all in its quota scope."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Final

from attrs import evolve, frozen

from batchllm.core.hints import Outcome, ServerHint

__all__ = ["Category", "ErrorClassifier", "ErrorInfo"]


class Category(StrEnum):
    """The kinds of failure that ``error_category`` names; a classifier may add its own."""

    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    INSUFFICIENT_QUOTA = "insufficient_quota"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    SERVER_ERROR = "server_error"
    BAD_OUTPUT = "bad_output"
    FILTERED = "filtered"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    INVALID_REQUEST = "invalid_request"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    MODEL_NOT_FOUND = "model_not_found"
    NOT_FOUND = "not_found"
    PROGRAM_ERROR = "program_error"
    UNKNOWN = "unknown"
    MIDDLEWARE = "middleware_error"
    INVALID_ITEM = "invalid_item"
    SKIPPED = "skipped"
    PARKED = "parked"
    STOPPED = "stopped"
    CANCELLED = "cancelled"


_FATAL: Final = frozenset(
    {
        Category.TOO_LARGE,
        Category.INVALID_REQUEST,
        Category.AUTHENTICATION,
        Category.PERMISSION,
        Category.MODEL_NOT_FOUND,
        Category.NOT_FOUND,
        Category.PROGRAM_ERROR,
    }
)


@frozen
class ErrorInfo:
    """The meaning of an exception for the item and for all who share its quota.

    Attributes:
        is_retryable: Whether another attempt may help.
        is_rate_limit: Whether the whole scope has to wait; wins over ``is_retryable``.
        is_timeout: Whether time ran out.
        error_category: A ``Category`` or a word of the classifier's own.
        suggested_wait: Seconds: the scope's cooldown for a rate limit, else the least backoff.
        hint: The limits that the server reported.
    """

    is_retryable: bool
    is_rate_limit: bool
    is_timeout: bool
    error_category: str
    suggested_wait: float | None = None
    hint: ServerHint | None = None

    @property
    def outcome(self) -> Outcome:
        """Return the outcome of the call as the gate sees it."""
        if self.is_rate_limit:
            return Outcome.THROTTLED
        if self.is_timeout:
            return Outcome.TIMEOUT
        match self.error_category:
            case Category.OVERLOADED:
                return Outcome.OVERLOADED
            case Category.INSUFFICIENT_QUOTA | Category.PARKED:
                return Outcome.EXHAUSTED
            case Category.BAD_OUTPUT | Category.FILTERED | Category.TRUNCATED:
                return Outcome.BAD_OUTPUT
            case category if category in _FATAL:
                return Outcome.FATAL
            case Category.CONNECTION | Category.SERVER_ERROR:
                # "Do not repeat this" is an answer: the server lives and has judged the call.
                return Outcome.TRANSIENT if self.is_retryable else Outcome.FATAL
            case _:
                return Outcome.UNKNOWN

    @property
    def scope_hint(self) -> ServerHint | None:
        """Return the hint for the whole scope, with ``suggested_wait`` if it has no wait."""
        if self.suggested_wait is None or not (
            self.is_rate_limit or self.error_category == Category.OVERLOADED
        ):
            return self.hint
        if self.hint is None:
            return ServerHint(wait=self.suggested_wait)
        if self.hint.wait is None:
            return evolve(self.hint, wait=self.suggested_wait)
        return self.hint


class ErrorClassifier(ABC):
    """Says what an exception means."""

    @abstractmethod
    def classify(self, exception: Exception) -> ErrorInfo | None:
        """Classify *exception*; ``None`` asks the default classifier."""
