"""The time that an item took, and how each of its calls ended."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from batchllm.core.usage import TokenUsage

__all__ = ["SPANS_PER_CALL", "AttemptFailure", "AttemptTiming", "Timing"]

SPANS_PER_CALL: Final = 4
"""Numbers for each call in an item's ``spans``: admission, cooldown, execution, backoff."""


@frozen
class AttemptFailure:
    """The end of a call that gave no answer.

    Attributes:
        error: What went wrong, as a sentence of at most 500 characters.
        error_category: The kind of failure, as in ``WorkItemResult``.
        status: The HTTP status that was answered, where one was.
        token_usage: Tokens that the provider billed for it, where that is known.
    """

    error: str
    error_category: str
    status: int | None = None
    token_usage: TokenUsage | None = None


@frozen
class AttemptTiming:
    """Seconds that one attempt spent on what, and how it ended.

    Attributes:
        admission_wait: Waiting for a permit: for room among the calls, or for the pace.
        cooldown_wait: Waiting because the scope was cooling down.
        execution: Being called.
        backoff: Waiting after it, before the next attempt.
        failure: How it ended, unless it gave the answer.
    """

    admission_wait: float = 0.0
    cooldown_wait: float = 0.0
    execution: float = 0.0
    backoff: float = 0.0
    failure: AttemptFailure | None = None


@frozen
class Timing:
    """Seconds that an item spent on what, per attempt and in sum.

    Attributes:
        attempts: One per call that was made for the item, refused ones included; and a last one
            without execution if the item ended while it waited for the next.
    """

    attempts: tuple[AttemptTiming, ...] = ()

    @property
    def admission_wait(self) -> float:
        """Waiting for room among the calls, or for the pace."""
        return sum(a.admission_wait for a in self.attempts)

    @property
    def cooldown_wait(self) -> float:
        """Waiting because the scope was cooling down."""
        return sum(a.cooldown_wait for a in self.attempts)

    @property
    def execution(self) -> float:
        """Being called."""
        return sum(a.execution for a in self.attempts)

    @property
    def backoff(self) -> float:
        """Waiting between attempts."""
        return sum(a.backoff for a in self.attempts)

    @property
    def total(self) -> float:
        """All of it."""
        return self.admission_wait + self.cooldown_wait + self.execution + self.backoff
