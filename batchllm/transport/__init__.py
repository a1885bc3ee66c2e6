"""HTTP: the one seam that every provider goes through."""

from batchllm.transport.client import Http, HttpClient, is_our_own
from batchllm.transport.foreign import AsyncClient, AsyncTransport, OneLoopOfSdk
from batchllm.transport.head import HeaderValues, mask_headers
from batchllm.transport.http import HttpTransport
from batchllm.transport.loops import (
    LoopTable,
    OneMaker,
    SharedLock,
    clock_of_now,
    has_ended,
    loop_of_now,
    on_asyncio,
)
from batchllm.transport.pool import Connect, Origin
from batchllm.transport.redact import Cleaner, Redactor, beginning, printable, redact
from batchllm.transport.reply import HttpReply, HttpStream
from batchllm.transport.sdk_errors import WithoutKeys
from batchllm.transport.secret import Secret
from batchllm.transport.sse import SseDecoder, SseEvent
from batchllm.transport.statistics import ConnectionStats
from batchllm.transport.threads import ThreadLimits, ThreadRunner, run_in_thread, runner_of_loop

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
    "OneLoopOfSdk",
    "OneMaker",
    "Origin",
    "Redactor",
    "Secret",
    "SharedLock",
    "SseDecoder",
    "SseEvent",
    "ThreadLimits",
    "ThreadRunner",
    "WithoutKeys",
    "beginning",
    "clock_of_now",
    "has_ended",
    "is_our_own",
    "loop_of_now",
    "mask_headers",
    "on_asyncio",
    "printable",
    "redact",
    "run_in_thread",
    "runner_of_loop",
]
