"""The testing kit: virtual time on asyncio and Trio."""

from batchllm.testing.clock import Backend, virtual_run, virtual_time

__all__ = ["Backend", "virtual_run", "virtual_time"]
