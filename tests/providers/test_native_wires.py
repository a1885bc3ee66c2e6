"""Responses, Messages and Gemini byte by byte, where they are alike."""

import json
from typing import Any

import pytest

from batchllm.core import MalformedResponseError, ProviderError
from tests.providers.wire_kit import Server, anthropic, gemini, responses, streaming

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("make", [responses, anthropic, gemini])
@pytest.mark.parametrize("body", [b"[1]", b"[]", b'"x"'])
async def test_json_that_is_no_object_is_no_answer(make: Any, body: bytes) -> None:
    """A list or a text is told as what it is."""
    with pytest.raises(MalformedResponseError, match=r"it is a (list|str)"):
        await make(Server(body)).generate("x")


@pytest.mark.parametrize("make", [responses, anthropic, gemini])
async def test_an_empty_stream_is_a_failure(make: Any) -> None:
    """A stream that ends before it began is told as such, and plain JSON is read as an answer."""
    with pytest.raises(MalformedResponseError, match="ended before it began"):
        await make(streaming(), stream=True).generate("x")
    with pytest.raises(ProviderError, match="answered 500"):
        await make(Server({}, 500), stream=True).generate("x")


@pytest.mark.parametrize("make", [responses, anthropic, gemini])
async def test_what_comes_before_the_json_is_left_out(make: Any) -> None:
    """A byte order mark, and the blank lines of a server that keeps the line open, do no harm."""
    output = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
    reply = {
        "status": "completed",
        "output": [output],
        "content": [{"type": "text", "text": "hi"}],
        "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
    }
    body = b"\xef\xbb\xbf\n\n  \n" + json.dumps(reply).encode()
    assert (await make(Server(body)).generate("x")).text == "hi"
