"""Datasets of Ray through the ordinary engine: on all nodes, under one quota, each row once."""

from batchllm.ray.authority import RayLeases, StaleWorkerError
from batchllm.ray.run import run_dataset
from batchllm.ray.summary import RunSummary, last_summary

__all__ = ["RayLeases", "RunSummary", "StaleWorkerError", "last_summary", "run_dataset"]
