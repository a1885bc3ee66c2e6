"""A limit on tokens that is found while calls wait counts for them, too."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import (
    CallCost,
    LimitHint,
    LLMCallStrategy,
    ProviderError,
    QuotaScope,
    RetryState,
    ServerHint,
)
from batchllm.gate import Gate

pytestmark = pytest.mark.anyio

TOKENS = 60
A_MINUTE = LimitHint(dimension="tokens", amount=100, per=60.0, remaining=0, reset=60.0)
REFUSED = ServerHint(wait=60.0, limits=(A_MINUTE,))


class OneRefusal(LLMCallStrategy[str]):
    """Has its first call refused, with the limit on tokens; each call takes 60 tokens."""

    quota_scope = QuotaScope("test", "https://api.test", "m")

    def __init__(self) -> None:
        self.started: list[float] = []

    def estimate(self, prompt: Any) -> CallCost:
        """Return what a call takes."""
        return CallCost(input_tokens=TOKENS)

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[str, dict[str, int]]:
        """Refuse the first call."""
        self.started.append(anyio.current_time())
        await anyio.sleep(1.0)
        if len(self.started) == 1:
            msg = "too many tokens"
            raise ProviderError(msg, status=429, hint=REFUSED)
        return str(prompt), {"input_tokens": TOKENS}


async def test_calls_that_waited_already_take_their_tokens() -> None:
    """Four wait for the one call in flight when its refusal says how many tokens there are."""
    strategy, gate = OneRefusal(), Gate(calls=1, scope=OneRefusal.quota_scope)
    result = await run_batch([str(n) for n in range(5)], strategy, concurrency=5, gate=gate)
    assert result.succeeded == 5
    apart = [b - a for a, b in zip(strategy.started[1:], strategy.started[2:], strict=False)]
    # 60 of 100 tokens a minute: one call in 36 s.
    assert min(apart) >= 30.0, apart
