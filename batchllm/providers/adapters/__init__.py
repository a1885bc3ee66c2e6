"""Clients, agents and chains of other packages, none of which is imported unless it is used."""

from batchllm.providers.adapters.bridge import AsyncioBridge
from batchllm.providers.adapters.clients import (
    AnthropicClientModel,
    OpenAIClientModel,
    OpenAIResponsesClientModel,
    client_scope,
)
from batchllm.providers.adapters.langchain import LangChainStrategy
from batchllm.providers.adapters.pydantic_ai import PydanticAIStrategy

__all__ = [
    "AnthropicClientModel",
    "AsyncioBridge",
    "LangChainStrategy",
    "OpenAIClientModel",
    "OpenAIResponsesClientModel",
    "PydanticAIStrategy",
    "client_scope",
]
