"""What a call takes from its quota, as it has to be said before the call is made.

While no limit on tokens is in force nobody is asked: a call is one request. Where one is, the
strategy's own estimate counts; a strategy that makes none is guessed for, from the length of the
prompt and what calls of its scope reported before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define, field

from batchllm.core import CallCost, LLMCallStrategy, QuotaScope, TokenUsage
from batchllm.gate import CallerLimits, Gate
from batchllm.policy import Limit, TokenEstimator, prompt_bytes

__all__ = ["ONE_REQUEST", "Estimates"]

ONE_REQUEST = CallCost()


@define(eq=False)
class Estimates:
    """Costs of calls, for one run; calibrated by what is reported back."""

    _estimator: TokenEstimator = field(factory=TokenEstimator, init=False)

    def cost_of(
        self, strategy: LLMCallStrategy[Any], prompt: Any, gate: Gate, callers: CallerLimits
    ) -> CallCost:
        """What to reserve for a call of *strategy* with *prompt*.

        Raises:
            TypeError: Its ``estimate`` returned something else than a cost.
        """
        if not gate.counts_tokens(callers):
            return ONE_REQUEST
        told: object = strategy.estimate(prompt)
        if isinstance(told, CallCost):
            return told
        if told is not None:
            name = type(told).__name__
            msg = f"estimate() returned {name} where a CallCost or None is expected"
            raise TypeError(msg)
        guess = self._estimator.estimate(str(strategy.quota_scope), prompt_bytes(prompt))
        own = () if callers.limiter is None else callers.limiter.limits
        return _with_room(guess, (*gate.limiter.limits, *own))

    def learn(self, scope: QuotaScope | None, prompt: Any, usage: TokenUsage | None) -> None:
        """Take in what a call reported."""
        if usage is not None:
            self._estimator.learn(
                str(scope),
                prompt_bytes(prompt),
                usage.get("input_tokens"),
                usage.get("output_tokens"),
            )


def _with_room(guess: CallCost, limits: Iterable[Limit]) -> CallCost:
    """The guess with its output cut to what the limits can give: no call fails for a mere guess."""
    output = guess.output_tokens
    for limit in limits:
        if limit.dimension == "output_tokens":
            output = min(output, limit.enforced[0])
        elif limit.dimension == "tokens":
            output = min(output, limit.enforced[0] - guess.input_tokens)
    return CallCost(guess.requests, guess.input_tokens, max(0, output))
