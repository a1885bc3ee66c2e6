"""The command line: ``batchllm run``, ``batchllm serve-sim``, ``batchllm models``."""

from batchllm.cli.entry import main

__all__ = ["main"]
