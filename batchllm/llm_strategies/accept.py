"""Everything that may stand where a strategy is expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from batchllm.core import LLMCallStrategy, LLMModel, StrategyError, kind_of
from batchllm.llm_strategies.callables import CallableStrategy
from batchllm.llm_strategies.model import ModelStrategy
from batchllm.llm_strategies.registry import llm

__all__ = ["StrategyLike", "as_strategy"]

T = TypeVar("T")

StrategyLike: TypeAlias = LLMCallStrategy[T] | LLMModel | Callable[..., Any] | str
"""Everything that may stand where a strategy is expected."""


def as_strategy(value: object) -> LLMCallStrategy[Any]:
    """Make the strategy that *value* stands for.

    Args:
        value: A strategy, a name such as ``"openai:gpt-5-mini"``, an ``LLMModel``, or a function
            from prompt to answer.

    Raises:
        StrategyError: It is something else.
        ConfigError: It is a name that cannot be followed.
    """
    if isinstance(value, LLMCallStrategy):
        strategy: LLMCallStrategy[Any] = value
        return strategy
    if isinstance(value, str):
        return llm(value)
    if isinstance(value, type):
        msg = f"the strategy is the class {value.__name__}; give an instance of it"
        raise StrategyError(msg)
    if isinstance(value, LLMModel):
        return ModelStrategy(value)
    if callable(value):
        return CallableStrategy(value)
    msg = (
        f"the strategy is {kind_of(value)}; give an LLMCallStrategy, a name such as "
        "'openai:gpt-5-mini', an LLMModel, or a function from prompt to answer"
    )
    raise StrategyError(msg)
