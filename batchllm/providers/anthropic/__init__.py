"""Anthropic's Messages."""

from batchllm.providers.anthropic.answer import read_message
from batchllm.providers.anthropic.model import AnthropicModel, AnthropicWire, CacheLifetime
from batchllm.providers.anthropic.prompt import as_system_and_messages

__all__ = [
    "AnthropicModel",
    "AnthropicWire",
    "CacheLifetime",
    "as_system_and_messages",
    "read_message",
]
