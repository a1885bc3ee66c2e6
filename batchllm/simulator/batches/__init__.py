"""The batch APIs of a simulated provider."""

from batchllm.simulator.batches.anthropic import AnthropicBatches
from batchllm.simulator.batches.behaviour import BatchBehaviour, InvoiceLine, Mishap
from batchllm.simulator.batches.gemini import GeminiBatches
from batchllm.simulator.batches.jobs import Job
from batchllm.simulator.batches.openai import OpenAIBatches
from batchllm.simulator.batches.store import BatchApi, Batches

__all__ = [
    "AnthropicBatches",
    "BatchApi",
    "BatchBehaviour",
    "Batches",
    "GeminiBatches",
    "InvoiceLine",
    "Job",
    "Mishap",
    "OpenAIBatches",
]
