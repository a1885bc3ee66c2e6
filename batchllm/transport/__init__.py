"""HTTP: the one seam that every provider goes through."""

from batchllm.transport.client import Http, HttpClient, is_our_own
from batchllm.transport.foreign import AsyncClient, AsyncTransport
from batchllm.transport.head import HeaderValues, mask_headers
from batchllm.transport.http import HttpTransport
from batchllm.transport.pool import Connect, Origin
from batchllm.transport.redact import Cleaner, Redactor, printable, redact
from batchllm.transport.reply import HttpReply, HttpStream
from batchllm.transport.secret import Secret
from batchllm.transport.sse import SseDecoder, SseEvent
from batchllm.transport.statistics import ConnectionStats

__all__ = [
    "AsyncClient",
    "AsyncTransport",
    "Cleaner",
    "Connect",
    "ConnectionStats",
    "HeaderValues",
    "Http",
    "HttpClient",
    "HttpReply",
    "HttpStream",
    "HttpTransport",
    "Origin",
    "Redactor",
    "Secret",
    "SseDecoder",
    "SseEvent",
    "is_our_own",
    "mask_headers",
    "printable",
    "redact",
]
