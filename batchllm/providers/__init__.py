"""Providers' wire formats over the one HTTP seam."""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
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
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.providers.adapters": """
                AnthropicClientModel AsyncioBridge LangChainStrategy
                OpenAIClientModel OpenAIResponsesClientModel PydanticAIStrategy
            """,
            "batchllm.providers.anthropic": "AnthropicModel CacheLifetime",
            "batchllm.providers.gemini": """
                GEMINI GeminiCachedModel GeminiClient GeminiEmbeddingStrategy
                GeminiModel gemini_usage
            """,
            "batchllm.providers.openai": """
                PROFILES ChatModel ChatProfile EmbeddingStrategy ResponsesModel
            """,
            "batchllm.providers.wire": """
                ConnectionOptions Endpoint Finish OnlineOnlyError WireModel
                WireOptions WireRequest attach_usage error_reply normalize_finish
            """,
        },
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
