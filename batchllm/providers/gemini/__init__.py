"""Gemini's ``generateContent``, its context caches and its embeddings."""

from batchllm.providers.gemini.cached_model import GeminiCachedModel
from batchllm.providers.gemini.client import GEMINI, GeminiClient
from batchllm.providers.gemini.embeddings import GeminiEmbeddingStrategy
from batchllm.providers.gemini.model import GeminiModel

__all__ = [
    "GEMINI",
    "GeminiCachedModel",
    "GeminiClient",
    "GeminiEmbeddingStrategy",
    "GeminiModel",
]
