"""Go on to another provider when one fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, Self

from attrs import define
from typing_extensions import TypeVar

from batchllm.core import (
    Category,
    ErrorClassifier,
    ErrorInfo,
    LLMCallStrategy,
    Reply,
    RetryState,
    explain_arguments,
    message_of,
)
from batchllm.llm_strategies.accept import StrategyLike
from batchllm.llm_strategies.composite import Composite, parts_of

__all__ = ["Fallback", "FallbackError"]

T = TypeVar("T", default=Any)

# The provider is at work, and asking it again may help; or the item itself is at fault, or the
# batch is over, and no other provider would do better.
_STAYS: Final = frozenset(
    {
        Category.BAD_OUTPUT,
        Category.INVALID_REQUEST,
        Category.INVALID_ITEM,
        Category.FILTERED,
        Category.PROGRAM_ERROR,
        Category.STOPPED,
        Category.CANCELLED,
    }
)


class FallbackError(ExceptionGroup[Exception]):
    """Every strategy of a ``Fallback`` failed; the group has their errors, in its order.

    Attributes:
        info: What that means for the item: it is tried again if one of them may yet succeed.
    """

    info: ErrorInfo

    @classmethod
    def of(cls, failures: Sequence[tuple[Exception, ErrorInfo]]) -> Self:
        """Make the error for *failures*, each with its meaning."""
        said = "; ".join(f"{type(error).__name__}: {message_of(error)}" for error, _ in failures)
        message = f"all {len(failures)} strategies of the fallback failed: {said}"
        group = cls(message, [error for error, _ in failures])
        infos = [info for _, info in failures]
        group.info = next((info for info in infos if info.is_retryable), infos[0])
        return group

    def derive(self, errors: Sequence[Exception], /) -> ExceptionGroup[Exception]:  # type: ignore[override]
        """Make a plain group of a part: it does not say that every strategy failed."""
        return ExceptionGroup(self.message, errors)

    def __str__(self) -> str:
        return self.message


class _ByTheBest(ErrorClassifier):
    """Classifies a group of alternatives by the most retryable of them."""

    def classify(self, exception: Exception) -> ErrorInfo | None:
        return exception.info if isinstance(exception, FallbackError) else None


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class Fallback(Composite[T], Generic[T]):
    """Calls the first strategy, and the next one if one fails, within the same attempt.

    The next one takes over after errors of the server or the network, timeouts, prompts that are
    too long for it, and if an account, a key or a model is refused or its quota parked. It does
    not if the current one will do when it is asked again: after a rate limit (to spread load, use
    ``Balance``) and after an answer that is not valid (``ModelEscalation`` goes on then). Nor
    does it if the item itself is at fault: a bad request, a filtered answer, an item that is out
    of time. Each attempt begins with the first whose endpoint answers.

    Example::

        Fallback(["openai:gpt-5-mini", "anthropic:claude-haiku-4-5"])

    Args:
        strategies: In the order of preference.

    Raises:
        StrategyError: *strategies* is empty or holds something else.
    """

    opens_with_first = True

    def __init__(self, strategies: Sequence[StrategyLike[T]]) -> None:
        self.parts = parts_of("Fallback", strategies)

    @property
    def error_classifier(self) -> ErrorClassifier:
        """Return what classifies a ``FallbackError``."""
        return _ByTheBest()

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        """Call one after the other until one answers.

        Raises:
            FallbackError: All of several failed.
            Exception: What the only one raised, or an error that no other could get over.
        """
        failures: list[tuple[Exception, ErrorInfo]] = []
        answering = [part for part in self.parts if _may_answer(part, memory)]
        for part in answering or self.parts:
            try:
                return await memory.call(part, prompt, attempt, timeout)
            except Exception as error:
                info = self.meaning(error, part, memory)
                if len(self.parts) == 1 or _is_final(info):
                    raise
                failures.append((error, info))
        raise FallbackError.of(failures)


def _may_answer(part: LLMCallStrategy[Any], memory: RetryState) -> bool:
    has_answer = isinstance(part, Composite) and part.has_answer(memory)
    return has_answer or not memory.is_unanswered(part)


def _is_final(info: ErrorInfo) -> bool:
    out_of_time = info.is_timeout and not info.is_retryable
    return info.is_rate_limit or out_of_time or info.error_category in _STAYS
