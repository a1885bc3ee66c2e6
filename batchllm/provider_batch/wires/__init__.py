"""The batch APIs of providers, one file each."""

from batchllm.provider_batch.wires.anthropic import AnthropicBatches
from batchllm.provider_batch.wires.base import (
    BatchWire,
    RemoteBatch,
    RemoteKind,
    body_of,
)
from batchllm.provider_batch.wires.control import Control
from batchllm.provider_batch.wires.gemini import GeminiBatches
from batchllm.provider_batch.wires.openai import OPENAI_PROVIDERS, OpenAIBatches

__all__ = [
    "OPENAI_PROVIDERS",
    "AnthropicBatches",
    "BatchWire",
    "Control",
    "GeminiBatches",
    "OpenAIBatches",
    "RemoteBatch",
    "RemoteKind",
    "body_of",
]
