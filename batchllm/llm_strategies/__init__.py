"""Strategies that are ready to use, and ``llm`` to get one by name."""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
    from batchllm.core import LLMCallStrategy
    from batchllm.llm_strategies.accept import StrategyLike, as_strategy
    from batchllm.llm_strategies.balance import Balance, KeyRotation
    from batchllm.llm_strategies.cache import ResponseCache
    from batchllm.llm_strategies.callables import CallableStrategy, from_callable
    from batchllm.llm_strategies.clients import (
        AnthropicStrategy,
        OpenAIResponsesStrategy,
        OpenAIStrategy,
    )
    from batchllm.llm_strategies.composite import Composite
    from batchllm.llm_strategies.escalation import ModelEscalation
    from batchllm.llm_strategies.fallback import Fallback, FallbackError
    from batchllm.llm_strategies.feedback import ValidationFeedback
    from batchllm.llm_strategies.gemini import (
        GeminiCachedStrategy,
        GeminiResponse,
        GeminiStrategy,
    )
    from batchllm.llm_strategies.model import ModelStrategy
    from batchllm.llm_strategies.output import OutputStrategy
    from batchllm.llm_strategies.prompting import ProgressivePrompting
    from batchllm.llm_strategies.recovery import PartialRecovery
    from batchllm.llm_strategies.registry import llm, provider_variables, providers
    from batchllm.llm_strategies.temperature import ProgressiveTemperature
    from batchllm.llm_strategies.typed import structured
    from batchllm.providers import AsyncioBridge, LangChainStrategy, PydanticAIStrategy
    from batchllm.transport import ThreadRunner, run_in_thread
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.core": "LLMCallStrategy",
            "batchllm.llm_strategies.accept": "StrategyLike as_strategy",
            "batchllm.llm_strategies.balance": "Balance KeyRotation",
            "batchllm.llm_strategies.cache": "ResponseCache",
            "batchllm.llm_strategies.callables": "CallableStrategy from_callable",
            "batchllm.llm_strategies.clients": """
                AnthropicStrategy OpenAIResponsesStrategy OpenAIStrategy
            """,
            "batchllm.llm_strategies.composite": "Composite",
            "batchllm.llm_strategies.escalation": "ModelEscalation",
            "batchllm.llm_strategies.fallback": "Fallback FallbackError",
            "batchllm.llm_strategies.feedback": "ValidationFeedback",
            "batchllm.llm_strategies.gemini": "GeminiCachedStrategy GeminiResponse GeminiStrategy",
            "batchllm.llm_strategies.model": "ModelStrategy",
            "batchllm.llm_strategies.output": "OutputStrategy",
            "batchllm.llm_strategies.prompting": "ProgressivePrompting",
            "batchllm.llm_strategies.recovery": "PartialRecovery",
            "batchllm.llm_strategies.registry": "llm provider_variables providers",
            "batchllm.llm_strategies.temperature": "ProgressiveTemperature",
            "batchllm.llm_strategies.typed": "structured",
            "batchllm.providers": "AsyncioBridge LangChainStrategy PydanticAIStrategy",
            "batchllm.transport": "ThreadRunner run_in_thread",
        },
    )

__all__ = [
    "AnthropicStrategy",
    "AsyncioBridge",
    "Balance",
    "CallableStrategy",
    "Composite",
    "Fallback",
    "FallbackError",
    "GeminiCachedStrategy",
    "GeminiResponse",
    "GeminiStrategy",
    "KeyRotation",
    "LLMCallStrategy",
    "LangChainStrategy",
    "ModelEscalation",
    "ModelStrategy",
    "OpenAIResponsesStrategy",
    "OpenAIStrategy",
    "OutputStrategy",
    "PartialRecovery",
    "ProgressivePrompting",
    "ProgressiveTemperature",
    "PydanticAIStrategy",
    "ResponseCache",
    "StrategyLike",
    "ThreadRunner",
    "ValidationFeedback",
    "as_strategy",
    "from_callable",
    "llm",
    "provider_variables",
    "providers",
    "run_in_thread",
    "structured",
]
