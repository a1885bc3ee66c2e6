"""OpenAI's wires, and those of everyone compatible: Chat Completions, Responses, embeddings."""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
    from batchllm.providers.openai.chat import ChatDialect, ChatModel
    from batchllm.providers.openai.chat_prompt import as_messages
    from batchllm.providers.openai.chat_reply import ChatReply, read_usage
    from batchllm.providers.openai.embeddings import EmbeddingStrategy
    from batchllm.providers.openai.profiles import PROFILES, ChatProfile
    from batchllm.providers.openai.responses import ResponsesDialect, ResponsesModel
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.providers.openai.chat": "ChatDialect ChatModel",
            "batchllm.providers.openai.chat_prompt": "as_messages",
            "batchllm.providers.openai.chat_reply": "ChatReply read_usage",
            "batchllm.providers.openai.embeddings": "EmbeddingStrategy",
            "batchllm.providers.openai.profiles": "PROFILES ChatProfile",
            "batchllm.providers.openai.responses": "ResponsesDialect ResponsesModel",
        },
    )

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
