"""Streams that are whole are accepted, whatever header they come under and however they end."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from batchllm.core import MalformedResponseError
from tests.providers.wire_kit import MODELS, Server, anthropic, chat, data, gemini, metadata_of

pytestmark = pytest.mark.anyio

DONE = b"data: [DONE]\n\n"
HEADERS = [
    "text/plain; charset=utf-8",
    "application/octet-stream",
    "application/json",
    "Text/Event-Stream",
    "",
]


def piece(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more}


START = {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 3}}}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hey"}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
STOP = {"type": "message_stop"}
SAID = {"type": "message", "content": [{"type": "output_text", "text": "hey"}]}
COMPLETED = {"type": "response.completed", "response": {"status": "completed", "output": [SAID]}}
LAST = {"content": {"parts": [{"text": "y"}]}, "finishReason": "STOP"}
CANDIDATE = {"content": {"parts": [{"text": "hey"}]}, "finishReason": "STOP"}
STREAMS = {
    "chat": data(piece("he"), piece("y", "stop")) + DONE,
    "anthropic": data(START, TEXT, END, STOP),
    "responses": data(COMPLETED),
    "gemini": data({"candidates": [CANDIDATE]}),
}


@pytest.mark.parametrize("make", MODELS.values())
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("stream", [True, False])
async def test_the_body_says_what_it_is(
    make: Callable[..., Any], header: str, stream: bool
) -> None:
    """Events are read as such under any content type, also if nobody asked for them."""
    server = Server(b"\n: hello\n\n" + STREAMS[make.__name__])
    server.headers = {"content-type": header} if header else {}
    assert (await make(server, stream=stream).generate("x")).text == "hey"


PIECES: dict[str, list[dict[str, Any]]] = {
    "chat": [piece("he"), piece("y", "stop")],
    "anthropic": [START, TEXT, END, STOP],
    "responses": [{"type": "response.in_progress"}, COMPLETED],
    "gemini": [{"candidates": [{"content": {"parts": [{"text": "he"}]}}]}, {"candidates": [LAST]}],
}


@pytest.mark.parametrize("make", MODELS.values())
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
async def test_a_stream_may_lack_the_framing_of_events(
    make: Callable[..., Any], stream: bool, indent: int | None
) -> None:
    """As one array, which Gemini's is without ``alt=sse``, or with one piece in each line."""
    pieces = PIECES[make.__name__]
    lines = "\n".join(map(json.dumps, pieces)).encode()
    array = json.dumps(pieces, indent=indent).encode()
    for body in (array, lines, b"\n" + lines + b"\n"):
        assert (await make(Server(body), stream=stream).generate("x")).text == "hey"
    for cut in (array[:-3], lines[:-3]):
        with pytest.raises(MalformedResponseError):
            await make(Server(cut), stream=stream).generate("x")


async def test_one_piece_is_no_whole_reply() -> None:
    """Neither if it came without the framing of events."""
    for stream in (True, False):
        with pytest.raises(MalformedResponseError, match="a piece of a stream"):
            await chat(Server(piece("he")), stream=stream).generate("x")


@pytest.mark.parametrize("make", MODELS.values())
async def test_what_follows_the_end_does_no_harm(make: Callable[..., Any]) -> None:
    """Gateways put OpenAI's mark behind everyone's streams, and leave the last line end out."""
    for body in (STREAMS[make.__name__] + DONE, STREAMS[make.__name__].rstrip()):
        server = Server(body, stream=True)
        assert (await make(server, stream=True).generate("x")).text == "hey"


@pytest.mark.parametrize("finish", [None, ""])
async def test_done_ends_an_answer_as_a_finish_reason_does(finish: str | None) -> None:
    """Only a stream that has neither is cut off."""
    parts = data(piece("he"), piece("y", finish))
    answer = await chat(Server(parts + DONE, stream=True), stream=True).generate("x")
    assert (answer.text, metadata_of(answer)["finish_reason"]) == ("hey", "unknown")
    with pytest.raises(MalformedResponseError, match="not whole"):
        await chat(Server(parts, stream=True), stream=True).generate("x")


async def test_anthropics_own_end_counts_too() -> None:
    """A gateway's stream may lack the reason, and has its last event."""
    body = data(START, TEXT, STOP)
    assert (await anthropic(Server(body, stream=True), stream=True).generate("x")).text == "hey"


@pytest.mark.parametrize("cut", range(1, 40))
async def test_a_cut_stream_is_never_an_answer(cut: int) -> None:
    """Wherever the last event is cut off, the text before it is not taken for whole."""
    body = data(piece("he"), piece("y", "stop"))
    server = Server(body[: -2 - cut], stream=True)
    with pytest.raises(MalformedResponseError, match="not whole"):
        await chat(server, stream=True).generate("x")


async def test_zeros_do_not_replace_real_counts() -> None:
    """Some servers end with a usage of zeros."""
    zeros = {"prompt_tokens": 0, "completion_tokens": 0}
    real = {"prompt_tokens": 3, "completion_tokens": 1}
    body = data(piece("h", "stop", usage=real), {"choices": [], "usage": zeros}) + DONE
    answer = await chat(Server(body, stream=True), stream=True).generate("x")
    assert answer.token_usage["input_tokens"] == 3
    last = {**END, "usage": {"input_tokens": 0, "output_tokens": 2}}
    answer = await anthropic(Server(data(START, TEXT, last, STOP)), stream=True).generate("x")
    assert (answer.token_usage["input_tokens"], answer.token_usage["output_tokens"]) == (3, 2)
    counted = {"promptTokenCount": 3, "candidatesTokenCount": 1}
    chunks = (
        {"candidates": [CANDIDATE], "usageMetadata": counted},
        {"usageMetadata": {"promptTokenCount": 0}},
    )
    answer = await gemini(Server(data(*chunks)), stream=True).generate("x")
    assert answer.token_usage["input_tokens"] == 3


def fragment(index: Any = ..., name: str | None = None, args: Any = "", **more: Any) -> Any:
    function = {"arguments": args} if name is None else {"name": name, "arguments": args}
    call = {"function": function, **more, **({} if index is ... else {"index": index})}
    return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}


@pytest.mark.parametrize(
    ("fragments", "wanted"),
    [
        (
            [fragment(0, "f", '{"p":1}', id="a"), fragment(0, "g", '{"p":2}', id="b")],
            [("a", "f", '{"p":1}'), ("b", "g", '{"p":2}')],
        ),
        (
            [fragment(1, "g", "2", id="b"), fragment(0, "f", "1", id="a")],
            [("a", "f", "1"), ("b", "g", "2")],
        ),
        (
            [fragment(name="f", id="a"), fragment(args='{"p"'), fragment(args=":1}")],
            [("a", "f", '{"p":1}')],
        ),
        (
            [
                fragment(None, "f", id="a"),
                fragment(None, args="1"),
                fragment(None, "g", "2", id="b"),
            ],
            [("a", "f", "1"), ("b", "g", "2")],
        ),
        (
            [fragment(0, "f", '{"p"', id="a"), fragment(0, "f", ":1}", id="a")],
            [("a", "f", '{"p":1}')],
        ),
        (
            [
                fragment(name="f", args='{"p"'),
                fragment(name="f", args=":1}"),
                fragment(name="f", args="2"),
            ],
            [(None, "f", '{"p":1}'), (None, "f", "2")],
        ),
        ([fragment(0, "f", {"p": 1}, id="a")], [("a", "f", '{"p":1}')]),
    ],
)
async def test_streamed_calls_of_tools_are_put_together(fragments: Any, wanted: Any) -> None:
    """For servers that repeat a number, send none, repeat the name, or send an object."""
    body = data(*fragments, piece("", "tool_calls")) + DONE
    answer = await chat(Server(body, stream=True), stream=True).generate("x")
    calls = metadata_of(answer)["tool_calls"]
    found = [(c.get("id"), c["function"]["name"], c["function"]["arguments"]) for c in calls]
    assert found == wanted
    json.loads(found[0][2])
