"""Providers' wire formats over the one HTTP seam."""

from batchllm.providers.anthropic import AnthropicModel, CacheLifetime
from batchllm.providers.billing import attach_usage
from batchllm.providers.bridge import AsyncioBridge
from batchllm.providers.chat import ChatModel
from batchllm.providers.embeddings import EmbeddingStrategy
from batchllm.providers.endpoints import Endpoint
from batchllm.providers.finish import Finish, normalize_finish
from batchllm.providers.gemini import GeminiModel
from batchllm.providers.gemini_cache import GeminiCachedModel
from batchllm.providers.gemini_client import GEMINI, GeminiClient
from batchllm.providers.gemini_embeddings import GeminiEmbeddingStrategy
from batchllm.providers.langchain import LangChainStrategy
from batchllm.providers.profiles import PROFILES, ChatProfile
from batchllm.providers.pydantic_ai import PydanticAIStrategy
from batchllm.providers.responses import ResponsesModel
from batchllm.providers.sdk import AnthropicClientModel, OpenAIClientModel

__all__ = [
    "GEMINI",
    "PROFILES",
    "AnthropicClientModel",
    "AnthropicModel",
    "AsyncioBridge",
    "CacheLifetime",
    "ChatModel",
    "ChatProfile",
    "EmbeddingStrategy",
    "Endpoint",
    "Finish",
    "GeminiCachedModel",
    "GeminiClient",
    "GeminiEmbeddingStrategy",
    "GeminiModel",
    "LangChainStrategy",
    "OpenAIClientModel",
    "PydanticAIStrategy",
    "ResponsesModel",
    "attach_usage",
    "normalize_finish",
]
