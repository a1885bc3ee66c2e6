"""A stand-in for an agent in the manner of PydanticAI: it answers by a function of yours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio
from attrs import frozen

from batchllm.core import ProviderError

__all__ = ["MockAgent", "MockRun", "MockUsage"]

Out = TypeVar("Out")


@frozen
class MockUsage:
    """Tokens of one run, under the names that agents use."""

    input_tokens: int
    output_tokens: int

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@frozen
class MockRun(Generic[Out]):
    """The result of ``MockAgent.run``."""

    output: Out
    _usage: MockUsage

    def usage(self) -> MockUsage:
        """The tokens of the run."""
        return self._usage


class MockAgent(Generic[Out]):
    """An agent for tests: no network, no key, always the answer you want.

    Example::

        agent = MockAgent(response_factory=lambda prompt: prompt.upper(), latency=0.01)
        result = await run_batch(prompts, PydanticAIStrategy(agent=agent))

    Args:
        response_factory: From prompt to output; by default a text that repeats the prompt. What
            it raises, the run raises.
        latency: Seconds that each run takes.
        rate_limit_on_call: The number of the call, from 1, that is refused with status 429.
        timeout_on_call: The number of the call, from 1, that raises ``TimeoutError``.
        input_tokens: Counted for each run.
        output_tokens: Counted for each run.
        output_type: What the agent says that it gives.

    Attributes:
        prompts: Every prompt that it was run with, in order.
    """

    def __init__(
        self,
        response_factory: Callable[[Any], Out] | None = None,
        latency: float = 0.0,
        rate_limit_on_call: int | None = None,
        timeout_on_call: int | None = None,
        *,
        input_tokens: int = 100,
        output_tokens: int = 50,
        output_type: Any = str,
    ) -> None:
        self.output_type = output_type
        self.prompts: list[Any] = []
        self._answer: Callable[[Any], Any] = response_factory or _repeat
        self._latency = latency
        self._rate_limit_on_call = rate_limit_on_call
        self._timeout_on_call = timeout_on_call
        self._usage = MockUsage(input_tokens, output_tokens)

    @property
    def call_count(self) -> int:
        """Return how often it was run."""
        return len(self.prompts)

    async def run(self, prompt: Any, **settings: Any) -> MockRun[Out]:
        """Answer *prompt*; *settings* are taken and left alone.

        Raises:
            ProviderError: It is the call that meets a rate limit.
            TimeoutError: It is the call that takes too long.
        """
        self.prompts.append(prompt)
        number = len(self.prompts)
        await anyio.sleep(self._latency)
        if number == self._rate_limit_on_call:
            msg = f"MockAgent: call {number} meets a rate limit (429), as requested"
            raise ProviderError(msg, status=429)
        if number == self._timeout_on_call:
            msg = f"MockAgent: call {number} takes too long, as requested"
            raise TimeoutError(msg)
        return MockRun(self._answer(prompt), self._usage)


def _repeat(prompt: Any) -> str:
    return f"Mock response to: {prompt}"
