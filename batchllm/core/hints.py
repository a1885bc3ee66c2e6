"""The limits that a server reports, and the outcomes of calls for the limiter."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from attrs import field, frozen

__all__ = ["CallCost", "Dimension", "LimitHint", "Outcome", "QuotaScope", "ServerHint"]

Dimension = Literal["requests", "tokens", "input_tokens", "output_tokens", "concurrency"]


class Outcome(StrEnum):
    """The end of a call, as far as pace and health of its quota scope are concerned.

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
    """One limit, as a header or an error body reported it.

    Where it was read does not count when two hints are compared.

    Attributes:
        dimension: What is limited.
        amount: The limit itself per *per* seconds, if it was reported; for ``"concurrency"`` the
            calls that may be in flight at once.
        per: Seconds to which *amount* refers, if they are known or usual.
        remaining: What is left of it.
        reset: Seconds from the reply until it is whole again.
        name: The name that the server gives it, if headers did; two limits on one dimension,
            of an account and of a project, have different names.
        source: ``"headers"`` or ``"body"``.
        assumed: Whether *per* is only what is usual under this name, and was not said.
        resolution: Seconds to which *reset* was cut off.
        margin: Units that were taken off *remaining* because the server rounds it.
    """

    dimension: Dimension
    amount: int | None = None
    per: float | None = None
    remaining: int | None = None
    reset: float | None = None
    name: str = field(default="", eq=False)
    source: Literal["headers", "body"] = field(default="body", eq=False)
    assumed: bool = field(default=False, eq=False)
    resolution: float = field(default=0.001, eq=False)
    margin: int = field(default=0, eq=False)


@frozen(kw_only=True)
class ServerHint:
    """The waits and limits that one reply reported.

    Attributes:
        wait: Seconds to wait before the next call of this scope, if the server said so.
        limits: The limits that the reply named.
        exhausted: Whether the quota will not come back by waiting a little (an empty
            account, a daily quota).
        retry: What the server said about trying again at all (``x-should-retry``).
    """

    wait: float | None = None
    limits: tuple[LimitHint, ...] = ()
    exhausted: bool = False
    retry: bool | None = None

    @property
    def names_parallel_cap(self) -> bool:
        """Return whether a refusal came for too many calls at once, and for nothing else.

        Such a refusal says nothing about pace: the scope need not pause, only the calls in
        flight have to become fewer.
        """
        spent = [one.dimension for one in self.limits if one.remaining == 0]
        return bool(spent) and all(dimension == "concurrency" for dimension in spent)


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
    """The share of a quota that one call takes, as reserved before it is sent."""

    requests: int = 1
    input_tokens: int = field(default=0)
    output_tokens: int = field(default=0)

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens
