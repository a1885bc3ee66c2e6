"""Steps round each item: the base to write your own, and a few that are ready."""

from batchllm.core import SKIP, BaseMiddleware, Middleware
from batchllm.middleware.redacting import RedactingMiddleware
from batchllm.middleware.skipping import SkippingMiddleware

__all__ = [
    "SKIP",
    "BaseMiddleware",
    "Middleware",
    "RedactingMiddleware",
    "SkippingMiddleware",
]
