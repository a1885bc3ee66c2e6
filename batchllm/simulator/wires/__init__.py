"""The formats of providers, each as bytes in and bytes out; nothing here decides anything."""

from collections.abc import Iterator
from typing import Protocol

from batchllm.simulator.wires.anthropic import AnthropicWire
from batchllm.simulator.wires.chat import ChatWire
from batchllm.simulator.wires.durations import go_duration, http_date, protobuf_duration, timestamp
from batchllm.simulator.wires.embeddings import EmbeddingsWire
from batchllm.simulator.wires.exchange import (
    Answer,
    Call,
    Chunk,
    Context,
    Ending,
    Headers,
    LimitState,
    Prefix,
    Problem,
    StreamEvent,
    WireProblem,
    WireReply,
    WireRequest,
)
from batchllm.simulator.wires.gemini import GeminiWire
from batchllm.simulator.wires.gemini_caches import GeminiCachesWire, cache_resource
from batchllm.simulator.wires.parsing import count_tokens
from batchllm.simulator.wires.responses import ResponsesWire
from batchllm.simulator.wires.sse import Framing, comment, frame


class Wire(Protocol):
    """One provider's format: requests to calls, answers and problems to bytes."""

    name: str

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for this wire."""
        ...

    def parse(self, request: WireRequest) -> Call:
        """Read a request; raises `WireProblem` where it is not valid."""
        ...

    def body(self, call: Call, answer: Answer, context: Context) -> bytes:
        """The whole answer as one document."""
        ...

    def events(self, call: Call, answer: Answer, context: Context) -> Iterator[StreamEvent]:
        """The answer as a stream."""
        ...

    def stream_type(self, call: Call) -> str:
        """The content type of a stream."""
        ...

    def error(self, problem: Problem, context: Context, call: Call | None) -> bytes:
        """The body of an error; `call` is None if the request could not be read."""
        ...

    def headers(self, context: Context) -> Headers:
        """The headers beside those of HTTP itself."""
        ...


def all_wires() -> tuple[Wire, ...]:
    """Every wire, in the order in which a request is offered to them."""
    return (
        ChatWire(),
        EmbeddingsWire(),
        ResponsesWire(),
        AnthropicWire(),
        GeminiWire(),
        GeminiCachesWire(),
    )


__all__ = [
    "Answer",
    "Call",
    "Chunk",
    "Context",
    "Ending",
    "Framing",
    "Headers",
    "LimitState",
    "Prefix",
    "Problem",
    "StreamEvent",
    "Wire",
    "WireProblem",
    "WireReply",
    "WireRequest",
    "all_wires",
    "cache_resource",
    "comment",
    "count_tokens",
    "frame",
    "go_duration",
    "http_date",
    "protobuf_duration",
    "timestamp",
]
