"""What a server tells about its limits, and how a call ended for the limiter."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from attrs import field, frozen

__all__ = ["CallCost", "Dimension", "LimitHint", "Outcome", "QuotaScope", "ServerHint"]

Dimension = Literal["requests", "tokens", "input_tokens", "output_tokens", "concurrency"]


class Outcome(StrEnum):
    """How a call ended, as far as pace and health of its quota scope are concerned.

    ``TRANSIENT`` is a failure of the connection or the server, ``UNKNOWN`` an error that says
    nothing about either, such as an exception of the user's own code.
    """

    OK = "ok"
    THROTTLED = "throttled"
    OVERLOADED = "overloaded"
    TRANSIENT = "transient"
    TIMEOUT = "timeout"
    BAD_OUTPUT = "bad_output"
    EXHAUSTED = "exhausted"
    FATAL = "fatal"
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class LimitHint:
    """One limit, as a header or an error body told it.

    Attributes:
        dimension: What is limited.
        amount: The limit itself per *per* seconds, where it was told.
        per: Seconds to which *amount* refers, where it was told.
        remaining: What is left of it.
        reset: Seconds from the reply until it is whole again.
    """

    dimension: Dimension
    amount: int | None = None
    per: float | None = None
    remaining: int | None = None
    reset: float | None = None


@frozen(kw_only=True)
class ServerHint:
    """What one reply told about waiting and limits.

    Attributes:
        wait: Seconds to wait before the next call of this scope, where the server said so.
        limits: The limits that the reply named.
        exhausted: Whether the quota will not come back by waiting a little (an empty
            account, a daily quota).
        retry: What the server said about trying again at all (``x-should-retry``).
    """

    wait: float | None = None
    limits: tuple[LimitHint, ...] = ()
    exhausted: bool = False
    retry: bool | None = None


@frozen(cache_hash=True)
class QuotaScope:
    """The calls that share one quota: provider, address, account and class of model.

    Attributes:
        account: A fingerprint of the key, never the key itself.
    """

    provider: str = "common"
    base_url: str = ""
    account: str = ""
    model: str = ""

    def __str__(self) -> str:
        parts = (self.provider, self.base_url, self.model, self.account)
        return " ".join(part for part in parts if part)


@frozen
class CallCost:
    """What one call takes from its quota, as reserved before it is sent."""

    requests: int = 1
    input_tokens: int = field(default=0)
    output_tokens: int = field(default=0)

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens
