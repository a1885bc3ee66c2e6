"""The strategy of an item whose answer came with a batch."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Final, Protocol, runtime_checkable

from batchllm.classifiers import failed_usage
from batchllm.core import ErrorClassifier, LLMCallStrategy, Reply, RetryState, TokenUsage
from batchllm.llm_strategies import Composite
from batchllm.provider_batch.billing import cost_in_batch
from batchllm.providers import WireRequest
from batchllm.transport import HttpReply

__all__ = ["Answered", "Batchable", "opened_with"]

_READ: Final = "batchllm: the answer of the batch was read"


@runtime_checkable
class Batchable(Protocol):
    """A strategy whose requests can be written down, and whose replies can come by any way."""

    def compose(self, prompt: Any) -> WireRequest:
        """Write the request for *prompt*, and send nothing."""
        ...

    def read_reply(self, reply: HttpReply, prompt: Any, state: RetryState) -> Any:
        """Read the reply to it."""
        ...


class Answered(Composite[Any]):
    """Gives an item the answer that a batch brought; its further attempts are made online.

    So what is wrong with the answer is judged, retried and repaired as it would be online, and its
    tokens are counted once.

    Args:
        inner: The strategy of the run, which is ``Batchable``.
        reply: The answer as it would have come online.
        batch_id: The provider's id of the batch, for the result's metadata.
        stacks: Whether the provider takes the price of a cached token down by half, too.
    """

    def __init__(
        self, inner: LLMCallStrategy[Any], reply: HttpReply, batch_id: str, *, stacks: bool = False
    ) -> None:
        self.parts = (inner,)
        self.reply = reply
        self.batch_id = batch_id
        self.stacks = stacks

    def has_answer(self, memory: RetryState) -> bool:
        """Return whether the answer was not read yet."""
        return not memory.get(_READ)

    @property
    def error_classifier(self) -> ErrorClassifier | None:
        """Return the classifier of the strategy whose answer it is."""
        return getattr(self.parts[0], "error_classifier", None)

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        """Read the answer, or call online if it was read before.

        Raises:
            Exception: As the strategy does for such an answer.
        """
        inner: Any = self.parts[0]
        if memory.get(_READ):
            return await memory.call(inner, prompt, attempt, timeout)
        memory.set(_READ, True)
        try:
            reply = Reply.read(inner.read_reply(self.reply, prompt, memory))
        except Exception as error:
            usage = failed_usage(error)
            memory.book(usage, self._cost(memory, usage, None) if usage else 0.0)
            raise
        memory.book(reply.usage, self._cost(memory, reply.usage, reply.metadata))
        return reply._replace(metadata={**(reply.metadata or {}), "batch_id": self.batch_id})

    def _cost(
        self,
        memory: RetryState,
        usage: TokenUsage | None,
        metadata: Mapping[str, Any] | None,
    ) -> float | None:
        """Return what the answer cost: half of what it costs online."""
        if usage is None:
            return None
        inner = self.parts[0]
        return cost_in_batch(
            lambda tokens: memory.price(inner, tokens, metadata), usage, stacks=self.stacks
        )


def opened_with(
    strategy: LLMCallStrategy[Any], first: LLMCallStrategy[Any]
) -> LLMCallStrategy[Any]:
    """Return *strategy* for one item, with *first* where its first call goes to.

    So a composite judges the answer of the batch as it would judge one that came online.
    """
    if not isinstance(strategy, Composite) or not strategy.opens_with_first:
        return first
    opened = copy(strategy)
    opened.parts = (opened_with(strategy.parts[0], first), *strategy.parts[1:])
    return opened
