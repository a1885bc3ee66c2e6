"""Providers' wire formats over the one HTTP seam."""

from batchllm.providers.chat import ChatModel
from batchllm.providers.chat_prompt import text_size
from batchllm.providers.embeddings import EmbeddingStrategy
from batchllm.providers.finish import Finish, normalize_finish
from batchllm.providers.profiles import PROFILES, ChatProfile

__all__ = [
    "PROFILES",
    "ChatModel",
    "ChatProfile",
    "EmbeddingStrategy",
    "Finish",
    "normalize_finish",
    "text_size",
]
