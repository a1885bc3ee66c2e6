"""Single fields that are odd, where a text was once lost, mixed up or refused: a test a fault."""

import json
from typing import Any

import pytest

from batchllm.core import MalformedResponseError, ProviderError
from batchllm.providers import OpenAIClientModel
from batchllm.providers.wire import normalize_finish
from tests.providers.test_odd_client_objects import Client
from tests.providers.test_whole_streams import DONE, END, START, STOP, piece
from tests.providers.wire_kit import (
    MODELS,
    Server,
    anthropic,
    chat,
    data,
    gemini,
    metadata_of,
)

pytestmark = pytest.mark.anyio

CANDIDATES: list[Any] = [{"content": {"parts": [{"text": "hey"}]}, "finishReason": "STOP"}]


async def text_of(wire: str, *events: Any, after: bytes = b"") -> str:
    """Return what is read of a stream of *events*."""
    answer = await MODELS[wire](Server(data(*events) + after), stream=True).generate("x")
    return str(answer.text)


async def whole_text(wire: str, reply: Any) -> str:
    return str((await MODELS[wire](Server(reply)).generate("x")).text)


@pytest.mark.parametrize("index", [0, "0", None, 1.5, [], {}, True, -1])
async def test_the_number_of_the_only_choice_may_be_odd(index: Any) -> None:
    """Its text is not dropped for a number that cannot be read."""
    odd = piece("he")
    odd["choices"][0]["index"] = index
    assert await text_of("chat", odd, piece("y", "stop")) == "hey"
    part = {"content": {"parts": [{"text": "he"}]}, "index": index}
    last = {"candidates": [{"content": {"parts": [{"text": "y"}]}, "finishReason": "STOP"}]}
    assert await text_of("gemini", {"candidates": [part]}, last) == "hey"


@pytest.mark.parametrize("index", [1, "1"])
async def test_a_second_choice_is_left_out(index: Any) -> None:
    """Also if it stands before the first."""
    other = piece("no")
    other["choices"][0]["index"] = index
    assert await text_of("chat", other, piece("hey", "stop")) == "hey"
    choices = [
        {"index": index, "finish_reason": "stop", "message": {"content": "no"}},
        {"index": 0, "finish_reason": "stop", "message": {"content": "hey"}},
    ]
    assert await whole_text("chat", {"choices": choices}) == "hey"
    second = {"content": {"parts": [{"text": "no"}]}, "index": index, "finishReason": "STOP"}
    assert await whole_text("gemini", {"candidates": [second, *CANDIDATES]}) == "hey"


@pytest.mark.parametrize("odd", [None, [], "x", 3, {"index": []}])
async def test_a_choice_that_is_none_does_not_spoil_the_reply(odd: Any) -> None:
    """Beside a whole one, or in an event of its own."""
    whole = {"index": 0, "finish_reason": "stop", "message": {"content": "hey"}}
    assert await whole_text("chat", {"choices": [whole, odd]}) == "hey"
    assert await text_of("chat", {"choices": odd}, piece("hey", "stop")) == "hey"
    assert await text_of("chat", {"choices": [{"delta": odd}]}, piece("hey", "stop")) == "hey"


@pytest.mark.parametrize("said", [None, [], [None], "x", 3, True, {}])
@pytest.mark.parametrize("wire", MODELS)
async def test_an_event_that_says_nothing_does_not_spoil_a_stream(wire: str, said: Any) -> None:
    """JSON that is no object is no piece of an answer."""
    output = [{"type": "message", "content": [{"type": "output_text", "text": "hey"}]}]
    streams: dict[str, list[Any]] = {
        "chat": [piece("he"), said, piece("y", "stop")],
        "responses": [
            said,
            {"type": "response.completed", "response": {"status": "completed", "output": output}},
        ],
        "anthropic": [START, said, delta(0, "hey"), END, STOP],
        "gemini": [said, {"candidates": CANDIDATES}],
    }
    assert await text_of(wire, *streams[wire]) == "hey"


async def test_an_event_that_cannot_be_read_spoils_a_stream() -> None:
    """It may have been a piece of the answer."""
    body = data(piece("he")) + b"data: {broken\n\n" + data(piece("y", "stop"))
    with pytest.raises(MalformedResponseError, match="no chat completion"):
        await chat(Server(body), stream=True).generate("x")


def delta(index: Any, text: str, kind: Any = "text_delta", **event: Any) -> dict[str, Any]:
    inner = {"type": kind, "text": text}
    return {"type": "content_block_delta", "index": index, "delta": inner, **event}


def block(index: Any, kind: Any = "text") -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind}}


@pytest.mark.parametrize("odd", [None, 3, [], {}])
async def test_types_that_lack_are_seen_from_the_fields(odd: Any) -> None:
    """Of an event, of what it adds, of a block, of an item and of a part."""
    events = [START, block(0), delta(0, "he"), delta(0, "y"), END, STOP]
    for place in range(len(events)):
        changed = [
            {**event, "type": odd} if place == at else event for at, event in enumerate(events)
        ]
        assert await text_of("anthropic", *changed) == "hey"
    assert await text_of("anthropic", START, block(0, odd), delta(0, "hey", odd), END) == "hey"
    # An SDK's object has the fields of every event there is.
    whole = {**delta(0, "hey", odd), "type": odd, "message": None, "content_block": None}
    assert await text_of("anthropic", START, block(0, odd), whole, END) == "hey"
    content = [{"type": odd, "text": "hey"}]
    assert await whole_text("anthropic", {"content": content, "stop_reason": "end_turn"}) == "hey"
    reply = {"status": "completed", "output": [{"type": odd, "content": content}]}
    assert await whole_text("responses", reply) == "hey"
    assert await text_of("responses", {"type": odd, "response": reply}) == "hey"


@pytest.mark.parametrize("index", [None, "x", [], True])
async def test_a_piece_without_a_number_belongs_to_the_block_that_began_last(index: Any) -> None:
    """And not to the first, which may be a thought."""
    thought = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "hm"},
    }
    events = [START, block(0, "thinking"), thought, block(index), delta(index, "hey"), END, STOP]
    answer = await anthropic(Server(data(*events)), stream=True).generate("x")
    assert (answer.text, metadata_of(answer)["reasoning"]) == ("hey", "hm")


async def test_a_text_is_one_whatever_its_block_is_called() -> None:
    """The event that began the block may have got lost."""
    events = [START, block(0, "thinking"), delta(None, "he"), delta(2, "y"), END, STOP]
    assert await text_of("anthropic", *events) == "hey"


@pytest.mark.parametrize("mark", [True, 1, "true", [1]])
async def test_a_thought_is_no_text_however_it_is_marked(mark: Any) -> None:
    parts = [{"text": "hm", "thought": mark}, {"text": "hey"}]
    reply = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    assert await whole_text("gemini", reply) == "hey"


async def test_thoughts_do_not_swallow_the_text_behind_them() -> None:
    """If the text says of itself that it is no thought, as some gateways have it."""
    chunks = [
        {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "he", "thought": False}]}}]},
        {"candidates": [{"content": {"parts": [{"text": None, "thought": False}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "y", "thought": False}]}}]},
        {"candidates": [{"finishReason": "STOP"}]},
    ]
    answer = await gemini(Server(data(*chunks)), stream=True).generate("x")
    assert (answer.text, metadata_of(answer)["reasoning"]) == ("hey", "hm")


@pytest.mark.parametrize("status", [None, [], {}, 3, "done"])
async def test_a_status_that_cannot_be_read_does_no_harm(status: Any) -> None:
    """Beside an output that is there."""
    said = {"type": "message", "content": [{"type": "output_text", "text": "hey"}]}
    reply = {"status": status, "output": [said]}
    assert await whole_text("responses", reply) == "hey"
    assert await text_of("responses", {"type": "response.completed", "response": reply}) == "hey"


@pytest.mark.parametrize("output", [None, [], "x", 3, [None]])
async def test_an_output_that_lacks_at_the_end_is_taken_from_the_events(output: Any) -> None:
    item = {"type": "message", "content": [{"type": "output_text", "text": "hey"}]}
    done = {"type": "response.output_item.done", "item": item}
    last = {"type": "response.completed", "response": {"status": "completed", "output": output}}
    assert await text_of("responses", done, last) == "hey"


@pytest.mark.parametrize("field", ["choices", "object", "usage", "message"])
async def test_half_a_pair_in_place_of_an_object_is_no_program_error(field: str) -> None:
    """In a field that has no text at all."""
    reply = json.dumps({"choices": [], field: "half \ud83d"}).encode()
    with pytest.raises(MalformedResponseError):
        await chat(Server(reply)).generate("x")


async def test_an_error_in_a_list_is_one() -> None:
    """Gemini's servers send it so under OpenAI's wire, too."""
    body = [{"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}]
    for server in (Server(body), Server(data(body) + DONE)):
        with pytest.raises(ProviderError, match="slow") as caught:
            await chat(server, stream=True).generate("x")
        assert caught.value.status == 429


def test_a_reason_that_is_no_word_is_unknown() -> None:
    """However deep it is nested."""
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    assert normalize_finish(deep) == normalize_finish({"stop": 1}) == "unknown"


@pytest.mark.parametrize("depth", [5, 400])
async def test_filter_results_of_any_depth_are_read(depth: int) -> None:
    """Azure's are 4 deep; what lies below 6 is none of theirs."""
    deep: Any = {"filtered": True}
    for _ in range(depth):
        deep = [deep]
    choice = {"message": {"content": "hey"}, "finish_reason": "stop"}
    reply = {"choices": [{**choice, "content_filter_results": deep}], "prompt_filter_results": deep}
    answer = await OpenAIClientModel(Client(reply), "m").generate("x")
    assert ("content_filter_results" in metadata_of(answer)) is (depth < 6)


async def test_a_clients_object_that_cannot_be_dumped_is_refused_by_name() -> None:
    """Pydantic raises for what is nested too deeply; an object may have no fields at all."""

    class Deep:
        def model_dump(self, **options: Any) -> Any:
            raise ValueError("Maximum serialization depth exceeded")

    for odd in (Deep(), object(), 3, None, [], "text"):
        with pytest.raises(MalformedResponseError):
            await OpenAIClientModel(Client(odd), "m").generate("x")
