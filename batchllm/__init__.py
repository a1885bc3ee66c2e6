"""Structured concurrency for large batches of LLM calls, on asyncio, uvloop and Trio."""

__all__: list[str] = []
