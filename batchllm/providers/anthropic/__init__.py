"""Anthropic's Messages."""

from batchllm.providers.anthropic.answer import read_message
from batchllm.providers.anthropic.model import AnthropicModel, CacheLifetime
from batchllm.providers.anthropic.prompt import as_system_and_messages

__all__ = [
    "AnthropicModel",
    "CacheLifetime",
    "as_system_and_messages",
    "read_message",
]
