"""Steps round each item: the base to write your own, and a few that are ready."""

from batchllm.core import SKIP, BaseMiddleware, Middleware
from batchllm.middleware.ready import RedactingMiddleware, SkippingMiddleware

__all__ = [
    "SKIP",
    "BaseMiddleware",
    "Middleware",
    "RedactingMiddleware",
    "SkippingMiddleware",
]
