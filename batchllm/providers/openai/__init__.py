"""OpenAI's wires, and those of everyone compatible: Chat Completions, Responses, embeddings."""

from batchllm.providers.openai.chat import ChatModel, ChatWire
from batchllm.providers.openai.chat_prompt import as_messages
from batchllm.providers.openai.chat_reply import ChatReply, read_usage
from batchllm.providers.openai.embeddings import EmbeddingStrategy
from batchllm.providers.openai.profiles import PROFILES, ChatProfile
from batchllm.providers.openai.responses import ResponsesModel, ResponsesWire

__all__ = [
    "PROFILES",
    "ChatModel",
    "ChatProfile",
    "ChatReply",
    "ChatWire",
    "EmbeddingStrategy",
    "ResponsesModel",
    "ResponsesWire",
    "as_messages",
    "read_usage",
]
