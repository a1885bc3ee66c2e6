"""Gemini's ``generateContent``, its context caches and its embeddings."""

from batchllm.providers.gemini.cached_model import GeminiCachedModel
from batchllm.providers.gemini.client import GEMINI, GeminiClient
from batchllm.providers.gemini.embeddings import GeminiEmbeddingStrategy
from batchllm.providers.gemini.model import GeminiModel
from batchllm.providers.gemini.reply import read_usage as gemini_usage

__all__ = [
    "GEMINI",
    "GeminiCachedModel",
    "GeminiClient",
    "GeminiEmbeddingStrategy",
    "GeminiModel",
    "gemini_usage",
]
