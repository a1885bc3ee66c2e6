"""HTTP: the one seam that every provider goes through."""

from batchllm.transport.client import Http, HttpClient, is_our_own
from batchllm.transport.foreign import AsyncClient, AsyncTransport, OneLoop
from batchllm.transport.head import HeaderValues, mask_headers
from batchllm.transport.http import HttpTransport
from batchllm.transport.loops import LoopTable, OneMaker, loop_of_now
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
    "LoopTable",
    "OneLoop",
    "OneMaker",
    "Origin",
    "Redactor",
    "Secret",
    "SseDecoder",
    "SseEvent",
    "is_our_own",
    "loop_of_now",
    "mask_headers",
    "printable",
    "redact",
]
