"""A limit that a server reports, and that a run keeps to, is logged and named at the end."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import (
    BaseObserver,
    LimitHint,
    LLMCallStrategy,
    ProcessingEvent,
    ProcessorConfig,
    ProviderError,
    QuotaScope,
    ServerHint,
)

pytestmark = pytest.mark.anyio


class FourAtATime(LLMCallStrategy[str]):
    """A server that answers in a second, and refuses a fifth call with the number it takes."""

    def __init__(self) -> None:
        self.live = 0

    @property
    def quota_scope(self) -> QuotaScope:
        return QuotaScope("gateway", "http://gateway.test", "account", "m")

    async def execute(
        self, prompt: str, attempt: int, timeout: float, state: Any = None
    ) -> tuple[str, dict[str, int]]:
        if self.live >= 4:
            cap = LimitHint(dimension="concurrency", amount=4, remaining=0)
            hint = ServerHint(limits=(cap,))
            raise ProviderError("too many at once", status=429, hint=hint)
        self.live += 1
        try:
            await anyio.sleep(1.0)
        finally:
            self.live -= 1
        return prompt, {}


class Notes(BaseObserver):
    """Keeps what is emitted about limits."""

    def __init__(self) -> None:
        self.adopted: list[dict[str, Any]] = []

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        if event is ProcessingEvent.LIMIT_ADOPTED:
            self.adopted.append(data)


async def test_a_cap_on_parallel_calls_is_said_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    """It is what holds the run back, and not the number of calls that the user allowed."""
    caplog.set_level(logging.INFO, "batchllm")
    notes = Notes()
    config = ProcessorConfig(max_workers=10)
    prompts = [f"p{number}" for number in range(40)]
    result = await run_batch(prompts, FourAtATime(), config=config, observers=[notes])
    assert result.succeeded == 40
    assert result.wall_time < 12
    lines = [r.getMessage() for r in caplog.records if "adopted" in r.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("Limit adopted: 4 calls at a time, from words of a refusal, for ")
    (data,) = notes.adopted
    assert (data["dimension"], data["amount"], data["per"]) == ("concurrency", 4, None)
    assert "Limited by  the provider's cap of 4 calls at a time, as it reported" in result.summary()
