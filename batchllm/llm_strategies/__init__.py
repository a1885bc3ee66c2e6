"""Strategies that are ready to use, and ``llm`` to get one by name."""

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
