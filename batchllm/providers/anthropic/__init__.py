"""Anthropic's Messages."""

from batchllm.providers.anthropic.answer import read_message
from batchllm.providers.anthropic.model import AnthropicModel, AnthropicWire, CacheLifetime

__all__ = [
    "AnthropicModel",
    "AnthropicWire",
    "CacheLifetime",
    "read_message",
]
