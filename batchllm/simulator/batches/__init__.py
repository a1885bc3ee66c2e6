"""The batch APIs of a simulated provider."""

from batchllm.simulator.batches.behaviour import BatchBehaviour, InvoiceLine, Mishap
from batchllm.simulator.batches.jobs import Job
from batchllm.simulator.batches.openai import OpenAIBatches

__all__ = ["BatchBehaviour", "InvoiceLine", "Job", "Mishap", "OpenAIBatches"]
