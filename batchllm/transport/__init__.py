"""HTTP: the one seam that every provider goes through."""

from batchllm.transport.client import AsyncClient, AsyncTransport, HttpClient
from batchllm.transport.exchange import HttpReply, HttpStream
from batchllm.transport.redact import Redactor, redact
from batchllm.transport.secret import Secret
from batchllm.transport.sse import SseDecoder, SseEvent

__all__ = [
    "AsyncClient",
    "AsyncTransport",
    "HttpClient",
    "HttpReply",
    "HttpStream",
    "Redactor",
    "Secret",
    "SseDecoder",
    "SseEvent",
    "redact",
]
