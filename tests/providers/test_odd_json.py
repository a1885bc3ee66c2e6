"""JSON that msgspec refuses and Python's json reads, on every wire, both ways."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from batchllm import LLMWorkItem, ParallelBatchProcessor, ProcessorConfig, call_result, run_batch
from batchllm.core import Category, InvalidItemError, MalformedResponseError, check_sendable
from batchllm.llm_strategies import OpenAIStrategy, OutputStrategy, PartialRecovery, structured
from batchllm.providers import EmbeddingStrategy
from batchllm.providers.wire import encode
from tests.providers.wire_kit import MODELS, Server

pytestmark = pytest.mark.anyio


def whole(wire: str, text: str) -> dict[str, Any]:
    match wire:
        case "chat":
            return {"choices": [{"finish_reason": "stop", "message": {"content": text}}]}
        case "responses":
            part = {"type": "output_text", "text": text}
            message = {"type": "message", "content": [part]}
            return {"status": "completed", "output": [message]}
        case "anthropic":
            block = {"type": "text", "text": text}
            return {"type": "message", "content": [block], "stop_reason": "end_turn"}
        case _:
            content = {"parts": [{"text": text}]}
            return {"candidates": [{"content": content, "finishReason": "STOP"}]}


def chunks(wire: str, *texts: str) -> list[dict[str, Any]]:
    match wire:
        case "chat":
            deltas = [{"choices": [{"delta": {"content": text}}]} for text in texts]
            return [*deltas, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]
        case "responses":
            done = whole(wire, "".join(texts))
            return [{"type": "response.completed", "response": done}]
        case "anthropic":
            deltas = [
                {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}
                for text in texts
            ]
            ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
            return [{"type": "message_start", "message": {"type": "message"}}, *deltas, ended]
        case _:
            parts = [{"candidates": [{"content": {"parts": [{"text": text}]}}]} for text in texts]
            return [*parts, {"candidates": [{"finishReason": "STOP"}]}]


def server(wire: str, *texts: str, stream: bool) -> Server:
    if not stream:
        return Server(json.dumps({**whole(wire, "".join(texts)), "odd": float("nan")}).encode())
    events = [{**chunk, "odd": float("-inf")} for chunk in chunks(wire, *texts)]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return Server(body.encode(), stream=True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", MODELS)
async def test_half_a_pair_is_an_answer(wire: str, stream: bool) -> None:
    """Half a pair becomes U+FFFD and is noted; NaN in a field that is not used does no harm."""
    there = server(wire, "half \ud83d", " pair", stream=stream)
    response = await MODELS[wire](there, stream=stream).generate("x")
    assert response.text == "half \ufffd pair"
    assert response.metadata["notes"] == ("half a surrogate pair in the answer became U+FFFD",)


@pytest.mark.parametrize("wire", MODELS)
async def test_a_pair_that_is_split_over_two_chunks_is_whole(wire: str) -> None:
    """A server that cuts by UTF-16 units loses nothing, and there is nothing to note."""
    there = server(wire, "a\ud83d", "\ude00b", stream=True)
    response = await MODELS[wire](there, stream=True).generate("x")
    assert response.text == "a\U0001f600b"
    assert "notes" not in response.metadata


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("wire", MODELS)
async def test_a_reply_in_another_encoding_is_read(wire: str, encoding: str) -> None:
    """Python's json reads any encoding of Unicode."""
    body = json.dumps(whole(wire, "h\u00e9"), ensure_ascii=False).encode(encoding)
    assert (await MODELS[wire](Server(body)).generate("x")).text == "h\u00e9"


@pytest.mark.parametrize("wire", MODELS)
async def test_depth_is_a_malformed_reply(wire: str) -> None:
    """Ten thousand levels are no RecursionError."""
    body = b'{"choices": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    with pytest.raises(MalformedResponseError, match="nested too deeply"):
        await MODELS[wire](Server(body)).generate("x")


async def test_tool_calls_and_thoughts_are_mended_too() -> None:
    """All that is kept of an answer can be encoded."""
    call = {"id": "\ud83d", "function": {"name": "f", "arguments": '{"a": "\ude00"}'}}
    message = {"content": "ok", "reasoning_content": "\ud83d", "tool_calls": [call]}
    body = json.dumps({"choices": [{"finish_reason": "stop", "message": message}]}).encode()
    response = await MODELS["chat"](Server(body)).generate("x")
    assert response.metadata["reasoning"] == "\ufffd"
    json.dumps(dict(response.metadata), ensure_ascii=False).encode()


async def test_embeddings_are_read_by_the_same_rules() -> None:
    """A vector's list of numbers is as tolerant as a text."""
    body = b'{"data": [{"embedding": [1, 2.5], "index": 0}], "odd": NaN, "x": "\\ud83d"}'
    strategy = EmbeddingStrategy("m", base_url="http://api.test/v1", api_key="k", http=Server(body))
    vectors, _, _ = await strategy.execute("x", 1, 9.0)
    assert vectors == [[1.0, 2.5]]


class SdkClient:
    """Has the one method of ``AsyncOpenAI`` that is called."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[Any] = []
        self.chat = self.completions = self

    async def create(self, **request: Any) -> Any:
        self.asked.append(request)
        return whole("chat", self.text)


async def test_the_client_of_an_sdk_is_mended_after() -> None:
    """It reads JSON in its own way, and leaves halves in its texts."""
    strategy = OpenAIStrategy(SdkClient("\ud83d"), "m")
    output, _, metadata = await strategy.execute("x", 1, 9.0)
    assert output == "\ufffd"
    assert metadata is not None
    assert "notes" in metadata


class Note(BaseModel):
    text: str
    more: list[str] = []


ESCAPED = '{"text": "x\\ud83d", "more": ["\\udc00", "ok"]}'
NOTES = (
    "half a surrogate pair in text became U+FFFD",
    "half a surrogate pair in more[0] became U+FFFD",
)


@pytest.mark.parametrize("wire", MODELS)
async def test_a_structured_output_that_was_changed_says_so(wire: str) -> None:
    """The JSON in the answer's text is read by the same rules, and the result has the notes."""
    there = server(wire, ESCAPED, stream=False)
    strategy = OutputStrategy(MODELS[wire](there), Note)
    (result,) = (await run_batch(["x"], strategy)).results
    assert result.output == Note(text="x\ufffd", more=["\ufffd", "ok"])
    assert result.metadata is not None
    assert result.metadata["notes"] == NOTES


async def test_composites_that_read_outputs_note_it_too() -> None:
    """Feedback, and recovery."""

    async def inner(prompt: str) -> str:
        return ESCAPED

    for strategy in (structured(inner, Note), PartialRecovery(inner, Note)):
        result = await call_result("x", strategy)
        assert result.metadata is not None
        assert result.metadata["notes"] == NOTES


HALF = "half \ud83d pair"
NAMED = r"half a surrogate pair \(\\ud83d\) at character 6"


def nowhere() -> httpx.MockTransport:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    return httpx.MockTransport(refuse)


@pytest.mark.parametrize(
    "item",
    [
        HALF,
        ("a", HALF),
        ("a", HALF, "context"),
        LLMWorkItem("a", None, HALF),
        [{"role": "user", "content": [{"type": "text", "text": HALF}]}],
        [{"role": "user", "content": "x", HALF: 1}],
    ],
)
async def test_a_prompt_that_cannot_be_encoded_is_an_invalid_item(item: Any) -> None:
    """Nothing is sent for it, and the others go on."""
    there = server("chat", "fine", stream=False)
    result = await run_batch([item, "good"], OutputStrategy(MODELS["chat"](there)))
    bad, good = result.in_input_order()
    assert (bad.error_category, bad.attempts) == (Category.INVALID_ITEM, 0)
    assert "half a surrogate pair" in str(bad.error)
    assert good.success
    assert len(there.sent) == 1


async def test_every_other_entry_point_refuses_it_too() -> None:
    """``call``, the processor's ``add_work``, and a middleware that puts it in."""
    strategy: Any = OutputStrategy(MODELS["chat"](nowhere()))
    with pytest.raises(InvalidItemError, match=NAMED):
        await call_result(HALF, strategy)
    async with ParallelBatchProcessor[Any, Any, Any](config=ProcessorConfig()) as processor:
        with pytest.raises(InvalidItemError, match=NAMED):
            await processor.add_work(LLMWorkItem("a", strategy, HALF))


@pytest.mark.parametrize("wire", MODELS)
async def test_a_system_text_that_cannot_be_encoded_is_an_invalid_item(wire: str) -> None:
    """It is known before anything is sent, and not tried again."""
    strategy: Any = OutputStrategy(MODELS[wire](nowhere()), system=HALF)
    (result,) = (await run_batch(["x"], strategy)).results
    assert (result.error_category, result.attempts) == (Category.INVALID_ITEM, 1)
    assert "half a surrogate pair" in str(result.error)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("wire", MODELS)
async def test_a_number_that_json_has_not_is_refused_by_name(wire: str, number: float) -> None:
    """In parameters, in what is sent unchecked, and in the arguments of a tool."""
    there = nowhere()
    with pytest.raises(InvalidItemError, match=r"temperature is (nan|inf|-inf)"):
        await MODELS[wire](there).generate("x", temperature=number)
    with pytest.raises(InvalidItemError, match=r"bias\.a\[0\] is"):
        await MODELS[wire](there, extra={"bias": {"a": [number]}}).generate("x")
    function = {"name": "f", "arguments": {"a": number}}
    call = {"id": "1", "type": "function", "function": function}
    if wire == "chat":
        with pytest.raises(InvalidItemError, match=r"arguments\.a is"):
            await MODELS[wire](there).generate([{"role": "assistant", "tool_calls": [call]}])


async def test_the_client_of_an_sdk_is_not_called_with_such_a_number() -> None:
    """Its own encoder would write null, or fail in its own words."""
    client = SdkClient("x")
    strategy = OpenAIStrategy(client, "m", temperature=float("nan"))
    with pytest.raises(InvalidItemError, match="temperature is nan"):
        await strategy.execute("x", 1, 9.0)
    assert client.asked == []


TEXTS = st.text(st.characters(codec=None, exclude_categories=())) | st.just("null")
PARTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def refusal(send: Callable[[dict[str, Any]], object], request: dict[str, Any]) -> str | None:
    try:
        send(request)
    except InvalidItemError as error:
        return str(error)
    return None


@given(st.dictionaries(TEXTS, PARTS, max_size=4))
def test_a_request_is_refused_in_words_or_written_without_a_loss(request: dict[str, Any]) -> None:
    """Also where it is looked through only if the encoder failed, or may have written a number so.

    What is refused is refused in the words of the check, which name the field.
    """
    refused = refusal(check_sendable, request)
    assert refusal(encode, request) == refused
    if refused is None:
        assert json.loads(encode(request)) == request
