"""Strategies that are ready to use, and ``llm`` to get one by name."""

from batchllm.llm_strategies.accept import StrategyLike, as_strategy
from batchllm.llm_strategies.callables import (
    CallableStrategy,
    ThreadRunner,
    from_callable,
    run_in_thread,
)
from batchllm.llm_strategies.model import ModelStrategy
from batchllm.llm_strategies.registry import llm, provider_variables, providers

__all__ = [
    "CallableStrategy",
    "ModelStrategy",
    "StrategyLike",
    "ThreadRunner",
    "as_strategy",
    "from_callable",
    "llm",
    "provider_variables",
    "providers",
    "run_in_thread",
]
