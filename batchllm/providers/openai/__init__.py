"""OpenAI's wires, and those of everyone compatible: Chat Completions, Responses, embeddings."""

from batchllm.providers.openai.chat import ChatModel
from batchllm.providers.openai.chat_answer import read_answer
from batchllm.providers.openai.chat_prompt import as_messages
from batchllm.providers.openai.chat_reply import ChatReply, read_usage
from batchllm.providers.openai.embeddings import EmbeddingStrategy
from batchllm.providers.openai.profiles import PROFILES, ChatProfile
from batchllm.providers.openai.responses import ResponsesModel

__all__ = [
    "PROFILES",
    "ChatModel",
    "ChatProfile",
    "ChatReply",
    "EmbeddingStrategy",
    "ResponsesModel",
    "as_messages",
    "read_answer",
    "read_usage",
]
