"""Providers' wire formats over the one HTTP seam."""

from batchllm.providers.adapters import (
    AnthropicClientModel,
    AsyncioBridge,
    LangChainStrategy,
    OpenAIClientModel,
    OpenAIResponsesClientModel,
    PydanticAIStrategy,
)
from batchllm.providers.anthropic import AnthropicModel, CacheLifetime
from batchllm.providers.gemini import (
    GEMINI,
    GeminiCachedModel,
    GeminiClient,
    GeminiEmbeddingStrategy,
    GeminiModel,
    gemini_usage,
)
from batchllm.providers.openai import (
    PROFILES,
    ChatModel,
    ChatProfile,
    EmbeddingStrategy,
    ResponsesModel,
)
from batchllm.providers.wire import (
    ConnectionOptions,
    Endpoint,
    Finish,
    OnlineOnlyError,
    WireModel,
    WireOptions,
    WireRequest,
    attach_usage,
    error_reply,
    normalize_finish,
)

__all__ = [
    "GEMINI",
    "PROFILES",
    "AnthropicClientModel",
    "AnthropicModel",
    "AsyncioBridge",
    "CacheLifetime",
    "ChatModel",
    "ChatProfile",
    "ConnectionOptions",
    "EmbeddingStrategy",
    "Endpoint",
    "Finish",
    "GeminiCachedModel",
    "GeminiClient",
    "GeminiEmbeddingStrategy",
    "GeminiModel",
    "LangChainStrategy",
    "OnlineOnlyError",
    "OpenAIClientModel",
    "OpenAIResponsesClientModel",
    "PydanticAIStrategy",
    "ResponsesModel",
    "WireModel",
    "WireOptions",
    "WireRequest",
    "attach_usage",
    "error_reply",
    "gemini_usage",
    "normalize_finish",
]
