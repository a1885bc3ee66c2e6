"""The errors of a gate that lets a call neither start nor wait."""

from __future__ import annotations

from batchllm.core import CallCost, CallTooLargeError, ConfigError, QuotaScope, ScopeParkedError
from batchllm.policy import Limit, Parked

__all__ = ["closed_meanwhile", "endpoint_down", "parked_scope", "too_large", "two_loops"]


def parked_scope(scope: QuotaScope | None, parked: Parked) -> ScopeParkedError:
    """Say that the scope is parked."""
    return ScopeParkedError(
        f"the quota scope {scope} is parked ({parked.cause}); run the rest again when its quota is "
        "back"
    )


def endpoint_down(scope: QuotaScope | None) -> ScopeParkedError:
    """Say that the endpoint was given up."""
    return ScopeParkedError(
        f"the endpoint of {scope} does not answer, and was given up; run the rest again when it "
        "can be reached"
    )


def closed_meanwhile(scope: QuotaScope | None) -> ScopeParkedError:
    """Say that the scope was closed during a call's wait, and is open again."""
    return ScopeParkedError(f"the quota scope {scope} was closed while a call was waiting for it")


def too_large(limit: Limit, cost: CallCost) -> CallTooLargeError:
    """Say that *cost* is more than *limit* can ever give."""
    what = limit.dimension.replace("_", " ")
    return CallTooLargeError(
        f"the call needs {limit.cost_of(cost):,} {what}, and the limit of {limit.amount:,} per "
        f"{limit.per:g} s lets at most {limit.enforced[0]:,} pass at once; make the prompt or "
        "max_tokens smaller, or raise the limit"
    )


def two_loops(scope: QuotaScope | None) -> ConfigError:
    """Say that two event loops use one gate at once."""
    what = "every scope" if scope is None else str(scope)
    return ConfigError(
        f"the Gate of {what} is used by two event loops at once; give each loop (each thread, each "
        "run_batch_sync) a Gate of its own, with its share of the limits, or run the batches in "
        "one loop"
    )
