"""Errors that come with a status of 200, on every wire, streamed and not."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from batchllm.core import ProviderError
from batchllm.providers import EmbeddingStrategy
from tests.providers.wire_kit import (
    KEY,
    MODELS,
    URL,
    Server,
    chat,
    data,
)

pytestmark = pytest.mark.anyio

INNER = {"message": "slow down", "type": "rate_limit_error", "code": 429}
WRAPPED = {"error": INNER}
FLAT = {"object": "error", **INNER}
BARE = dict(INNER)


def named(event: object) -> bytes:
    return b"event: error\n" + data(event)


async def refused(model: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await model.generate("x")
    return caught.value


@pytest.mark.parametrize("make", MODELS.values())
@pytest.mark.parametrize("body", [WRAPPED, FLAT, BARE, [WRAPPED]])
async def test_an_error_in_a_whole_reply_keeps_its_status_and_words(
    make: Callable[..., Any], body: Any
) -> None:
    """With something round it, flat, or as the only entry of a list."""
    error = await refused(make(Server(body)))
    assert error.status == 429
    assert "slow down" in str(error)
    assert (await refused(make(Server(body), stream=True))).status == 429


GATEWAYS: list[tuple[dict[str, Any], int]] = [
    ({"error": "slow down", "code": 429}, 429),
    ({"error": {"message": "slow down", "status": 429}}, 429),
    ({"statusCode": 429, "message": "slow down"}, 429),
    ({"status_code": 429, "msg": "slow down"}, 429),
    ({"detail": {"message": "slow down", "code": 429}}, 429),
    ({"detail": [{"loc": ["body"], "msg": "slow down", "type": "missing"}]}, 200),
    ({"success": False, "errors": [{"code": 10000, "message": "slow down"}]}, 200),
    ({"fault": {"faultstring": "slow down", "detail": {"errorcode": "x"}}}, 200),
    ({"base_resp": {"status_code": 1002, "status_msg": "slow down"}}, 200),
]


@pytest.mark.parametrize("make", MODELS.values())
@pytest.mark.parametrize(("body", "status"), GATEWAYS)
async def test_the_shapes_of_gateways_are_errors_with_words(
    make: Callable[..., Any], body: dict[str, Any], status: int
) -> None:
    """Cloudflare's, Azure's and Apigee's gateways, FastAPI's and MiniMax's own, in a 200."""
    for server, settings in (
        (Server(body), {}),
        (Server(data(body), stream=True), {"stream": True}),
    ):
        error = await refused(make(server, **settings))
        assert (error.status, "slow down" in str(error)) == (status, True)


@pytest.mark.parametrize("make", MODELS.values())
@pytest.mark.parametrize(
    "body",
    [
        data(WRAPPED),
        data(FLAT) + b"data: [DONE]\n\n",
        named(INNER),
        named(WRAPPED),
        b"event: error\ndata: 429\n\n",
        json.dumps(WRAPPED).encode(),
        b": wait\n\n" + json.dumps(WRAPPED).encode() + b"\n\n",
        b": wait\n\n" + json.dumps(WRAPPED).encode(),
        data(WRAPPED)[:-2],
    ],
)
async def test_an_error_in_a_stream_is_found(make: Callable[..., Any], body: bytes) -> None:
    """By its event's name, by its fields, or bare amid the events; the end may be missing."""
    error = await refused(make(Server(body, stream=True), stream=True))
    assert (error.status, "slow down" in str(error)) == (429, True) or b"data: 429" in body


async def test_an_error_inside_a_choice_is_an_error() -> None:
    """As OpenRouter sends the failure of the provider behind it."""
    choice = {"index": 0, "finish_reason": "error", "error": {"code": 400, "message": "bad schema"}}
    whole = {"choices": [{**choice, "message": {"content": "half"}}], "usage": {"prompt_tokens": 3}}
    error = await refused(chat(Server(whole)))
    assert (error.status, "bad schema" in str(error)) == (400, True)
    assert error.usage == {"input_tokens": 3, "total_tokens": 3}
    part = data({"choices": [{**choice, "delta": {"content": "half"}}]})
    assert (await refused(chat(Server(part, stream=True), stream=True))).status == 400


async def test_an_answer_may_have_fields_that_errors_have() -> None:
    """A message or a code beside an answer is no error."""
    choices = [{"message": {"content": "hi"}, "finish_reason": "stop", "error": None}]
    reply = {"choices": choices, "message": "ok", "code": 0, "error": None}
    assert (await chat(Server(reply)).generate("x")).text == "hi"


@pytest.mark.parametrize("body", [WRAPPED, FLAT, BARE])
async def test_an_error_in_place_of_vectors_is_found(body: Any) -> None:
    """Embeddings are no exception."""
    strategy = EmbeddingStrategy("m", base_url=URL, api_key=KEY, http=Server(body))
    with pytest.raises(ProviderError, match="slow down") as caught:
        await strategy.execute("x", 1, 1.0)
    assert caught.value.status == 429
