"""Anthropic's Messages."""

from batchllm.providers.anthropic.answer import read_message
from batchllm.providers.anthropic.model import AnthropicDialect, AnthropicModel, CacheLifetime

__all__ = [
    "AnthropicDialect",
    "AnthropicModel",
    "CacheLifetime",
    "read_message",
]
