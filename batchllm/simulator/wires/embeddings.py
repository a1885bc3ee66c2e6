"""`POST …/embeddings`, as the OpenAI family speaks it."""

import struct
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from batchllm.simulator.wires.chat_errors import chat_error
from batchllm.simulator.wires.exchange import (
    Answer,
    Call,
    Context,
    Headers,
    Problem,
    StreamEvent,
    WireRequest,
)
from batchllm.simulator.wires.parsing import (
    count_tokens,
    digest_of,
    dump,
    invalid,
    json_object,
    required_text,
)
from batchllm.simulator.wires.rate_headers import rate_headers
from batchllm.simulator.wires.sse import EVENT_STREAM

_MOST_INPUTS = 2048


class EmbeddingsWire:
    """`POST …/embeddings`."""

    name = "embeddings"

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for this wire."""
        return request.method == "POST" and request.path.endswith("/embeddings")

    def parse(self, request: WireRequest) -> Call:
        """Read the request.

        Raises:
            WireProblem: it is not valid.
        """
        body = json_object(request)
        model = required_text(body, "model")
        texts = _inputs(body.get("input"))
        return Call(
            kind="embed",
            model=model,
            prompt="\n".join(texts),
            headline=texts[0],
            digest=digest_of(model, texts),
            input_tokens=sum(max(1, count_tokens(text)) for text in texts),
            texts=texts,
            details={
                "dimensions": body.get("dimensions"),
                "base64": body.get("encoding_format") == "base64",
            },
        )

    def body(self, call: Call, answer: Answer, context: Context) -> bytes:
        """The vectors in the order of the inputs."""
        rows = [
            {"object": "embedding", "index": index, "embedding": _encoded(vector, call)}
            for index, vector in enumerate(answer.vectors)
        ]
        reply: dict[str, Any] = {"object": "list", "data": rows, "model": call.model}
        if not context.omit_usage:
            tokens = answer.input_tokens
            reply["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return dump(reply).encode()

    def events(self, call: Call, answer: Answer, context: Context) -> Iterator[StreamEvent]:
        """Embeddings are never streamed."""
        yield from ()

    def stream_type(self, call: Call) -> str:
        """The content type of a stream."""
        return EVENT_STREAM

    def error(self, problem: Problem, context: Context, call: Call | None) -> bytes:
        """The body of an error."""
        model = "unknown" if call is None else call.model
        return dump(chat_error(problem, context, model)).encode()

    def headers(self, context: Context) -> Headers:
        """The headers beside those of HTTP itself."""
        return (("x-request-id", context.request_id), *rate_headers(context))


def _inputs(given: Any) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        invalid("Invalid 'input': expected a text or a list of texts.")
    if len(texts) > _MOST_INPUTS:
        invalid(f"Invalid 'input': {len(texts)} texts, at most {_MOST_INPUTS} are allowed.")
    if not all(isinstance(text, str) and text for text in texts):
        invalid("Invalid 'input': each has to be a text that is not empty.")
    return tuple(texts)


def _encoded(vector: tuple[float, ...], call: Call) -> list[float] | str:
    if call.details["base64"]:
        return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return list(vector)
