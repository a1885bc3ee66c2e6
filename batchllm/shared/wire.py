"""Requests and leases as JSON."""

from __future__ import annotations

from typing import Final

import msgspec
from attrs import evolve

from batchllm.core import ConfigError
from batchllm.policy import Lease, LeaseRequest, Limit

__all__ = ["PATH", "read_lease", "read_request", "write"]

PATH: Final = "/v1/lease"
_REQUEST: Final = msgspec.json.Decoder(LeaseRequest)
_LEASE: Final = msgspec.json.Decoder(Lease)


def write(message: LeaseRequest | Lease) -> bytes:
    """Return *message* as JSON."""
    return msgspec.json.encode(message)


def read_request(body: bytes) -> LeaseRequest:
    """Read a request for a lease.

    Raises:
        ConfigError: *body* is no such request, or a limit in it has a value that cannot work.
    """
    try:
        request = _REQUEST.decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        msg = f"the request for a lease cannot be read: {error}"
        raise ConfigError(msg) from error
    if not 0.01 <= request.quota.hold <= 10 or request.report.closed_for > 86_400:
        msg = "the request for a lease has a hold or a pause that cannot be"
        raise ConfigError(msg)
    quota = evolve(request.quota, limits=_checked(request.quota.limits))
    report = evolve(request.report, found=_checked(request.report.found))
    return evolve(request, quota=quota, report=report)


def read_lease(body: bytes) -> Lease:
    """Read a lease.

    Raises:
        ValueError: *body* is no lease.
    """
    lease = _LEASE.decode(body)
    return evolve(lease, limits=_checked(lease.limits))


def _checked(limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
    """Return the same limits, made as users make them: decoding does not look at values."""
    return tuple(
        Limit(one.dimension, one.amount, per=one.per, window=one.window, jitter=one.jitter)
        for one in limits
    )
