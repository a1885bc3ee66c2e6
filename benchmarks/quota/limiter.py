"""The library's own rate limiter as a client of the simulated world: the one place to adapt."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from batchllm.core import CallCost, Outcome, ServerHint
from batchllm.policy import Limit, Parked, RateLimiter

_ONE = CallCost()


class Limited:
    """A rate limiter that is driven by the world.

    Args:
        limiter: The limiter, where one with other settings is to be driven.
    """

    def __init__(self, limiter: RateLimiter) -> None:
        self.limiter = limiter

    @property
    def parked(self) -> Parked | None:
        """Return why the scope has been given up, if it has."""
        return self.limiter.parked

    def next_time(self, now: float, tokens: float) -> float:
        return self.limiter.next_time(now, _cost(tokens) if tokens else _ONE)

    def on_send(self, now: float, tokens: float) -> Any:
        return self.limiter.on_send(now, _cost(tokens) if tokens else _ONE)

    def on_result(self, now: float, send: Any, accepted: bool, wait: float | None) -> None:
        if accepted:
            self.limiter.on_result(now, send, Outcome.OK)
        else:
            hint = None if wait is None else ServerHint(wait=wait)
            self.limiter.on_result(now, send, Outcome.THROTTLED, hint)


def make(seed: int, callers: int, limits: Iterable[Limit] = ()) -> Limited:
    """Make a limiter with the settings that a run of so many callers gives it."""
    return Limited(RateLimiter(rng=Random(seed), calls=callers, limits=limits))


def _cost(tokens: float) -> CallCost:
    return CallCost(input_tokens=int(tokens))
