"""OpenAI's wires, and those of everyone compatible: Chat Completions, Responses, embeddings."""

from batchllm.providers.openai.chat import ChatDialect, ChatModel
from batchllm.providers.openai.chat_prompt import as_messages
from batchllm.providers.openai.chat_reply import ChatReply, read_usage
from batchllm.providers.openai.embeddings import EmbeddingStrategy
from batchllm.providers.openai.profiles import PROFILES, ChatProfile
from batchllm.providers.openai.responses import ResponsesDialect, ResponsesModel

__all__ = [
    "PROFILES",
    "ChatDialect",
    "ChatModel",
    "ChatProfile",
    "ChatReply",
    "EmbeddingStrategy",
    "ResponsesDialect",
    "ResponsesModel",
    "as_messages",
    "read_usage",
]
