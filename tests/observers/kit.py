"""A batch that tests of metrics share: one item of each ending."""

from __future__ import annotations

from batchllm.api import run_batch
from batchllm.core import BaseObserver, ProcessorConfig, ProviderError, RetryConfig, ServerHint
from batchllm.middleware import SkippingMiddleware
from batchllm.testing import Answer, Raise, ScriptedStrategy


def refusal() -> ProviderError:
    return ProviderError("slow down", status=429, hint=ServerHint(wait=5.0))


async def run_one_of_each(observer: BaseObserver, usage: dict[str, int]) -> None:
    """Run a batch: answers at once, late and after a refusal, a failure, a skipped item."""
    strategy = ScriptedStrategy(
        {
            "slow": Answer("x", after=9.0, usage=usage),
            "bad": Raise(ValueError("no")),
            "limited": [Raise(refusal), Answer("x", usage=usage)],
        }
    )
    await run_batch(
        ["quick", "slow", "bad", "limited", "empty"],
        strategy,
        config=ProcessorConfig(retry=RetryConfig(max_attempts=2)),
        observers=[observer],
        middlewares=[SkippingMiddleware(lambda item: item.prompt == "empty")],
    )
