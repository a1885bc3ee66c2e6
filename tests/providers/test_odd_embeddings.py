"""Vectors, as servers and lines change them: each text gets its own, whole, or none does."""

import base64
import copy
import struct
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import CallError, MalformedResponseError
from batchllm.providers import EmbeddingStrategy, GeminiClient, GeminiEmbeddingStrategy
from tests.providers.lines import Line, Server, broken_lines, examples, lines
from tests.providers.mutations import CHARSETS, Change, changes_of, dump
from tests.providers.wire_kit import Server as Answering

pytestmark = pytest.mark.anyio

VECTORS = [[0.5, -1.0, 2.0], [0.25, 4.0, -8.0]]


def packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def listed(*vectors: Any) -> dict[str, Any]:
    entries = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return {"object": "list", "model": "m", "data": entries, "usage": usage}


BACKWARDS = {"data": [{"embedding": VECTORS[1], "index": 1}, {"embedding": VECTORS[0], "index": 0}]}
REPLIES: list[tuple[str, dict[str, Any]]] = [
    ("openai", listed(*VECTORS)),
    ("openai", listed(*map(packed, VECTORS))),
    ("openai", {"data": [{"embedding": vector} for vector in VECTORS]}),
    ("openai", BACKWARDS),
    ("gemini", {"embeddings": [{"values": vector} for vector in VECTORS]}),
]


def strategy(wire: str, server: Any) -> Any:
    if wire == "gemini":
        client = GeminiClient("k", base_url="http://api.test/v1beta", http=server)
        return GeminiEmbeddingStrategy("m", client)
    return EmbeddingStrategy("m", base_url="http://api.test/v1", api_key="k", http=server)


async def ask(wire: str, server: Server) -> Any:
    try:
        return (await strategy(wire, server).execute(["a", "b"], 1, 5.0))[0]
    except CallError as error:
        return error


def beside_numbers(path: tuple[str | int, ...], here: Any, to: Any) -> bool:
    """Return whether a change leaves the numbers of vectors as they are."""
    return not ({"values", "embedding"} & set(path[:-1]))


@cache
def every_change(position: int) -> list[Change]:
    return changes_of(REPLIES[position][1], beside_numbers)


@st.composite
def oddities(draw: Any) -> tuple[str, bytes]:
    position = draw(st.integers(0, len(REPLIES) - 1))
    wire, reply = copy.deepcopy(REPLIES[position])
    for change in draw(st.lists(st.sampled_from(every_change(position)), max_size=2)):
        change.apply(reply)
    return wire, dump(reply).encode(draw(st.sampled_from(CHARSETS)))


@given(reply=st.sampled_from(REPLIES), charset=st.sampled_from(CHARSETS), line=lines)
@examples
async def test_valid_vectors_are_read_under_any_header(
    reply: tuple[str, Any], charset: str, line: Line
) -> None:
    """However it is labelled, packed and cut into pieces."""
    wire, value = reply
    assert await ask(wire, line.carry(dump(value).encode(charset))) == VECTORS


@given(oddity=oddities(), line=lines | broken_lines)
@examples
async def test_odd_vectors_are_whole_or_refused(oddity: tuple[str, bytes], line: Line) -> None:
    """No text gets another one's vector, a part of one, or an error that is not ours."""
    wire, body = oddity
    vectors = await ask(wire, line.carry(body))
    assert isinstance(vectors, CallError) or vectors == VECTORS


@pytest.mark.parametrize(
    "odd",
    [
        [],
        [1.0, 2.0],
        [1.0, None, 2.0],
        [1.0, float("nan"), 2.0],
        [1.0, 2.0, float("-inf")],
        "AAAA",
        "AACA PwAA!AA=",
        {"values": 1},
        None,
    ],
    ids=repr,
)
@pytest.mark.parametrize("wire", ["openai", "gemini"])
async def test_a_vector_that_cannot_be_one_is_refused(wire: str, odd: Any) -> None:
    """It is empty or shorter than the others, or has no numbers, or not finite ones."""
    first = VECTORS[0]
    replies: dict[str, Any] = {
        "openai": listed(first, odd),
        "gemini": {"embeddings": [{"values": first}, {"values": odd}]},
    }
    with pytest.raises(MalformedResponseError):
        await strategy(wire, Answering(dump(replies[wire]).encode())).execute(["a", "b"], 1, 5.0)


@pytest.mark.parametrize("wire", ["openai", "gemini"])
async def test_vectors_that_are_refused_are_paid_for(wire: str) -> None:
    """The error has the tokens that the provider counted."""
    reply = {**listed([1.0], []), "embeddings": [{"values": [1.0]}, {"values": []}]}
    counted = {**reply, "usageMetadata": {"promptTokenCount": 8}}
    with pytest.raises(MalformedResponseError) as caught:
        await strategy(wire, Answering(dump(counted).encode())).execute(["a", "b"], 1, 5.0)
    assert caught.value.usage is not None
    assert caught.value.usage["input_tokens"] == 8


async def test_numbers_that_say_null_are_none() -> None:
    """A server that leaves the place of every vector open gives them in order."""
    entries = [{"embedding": vector, "index": None} for vector in VECTORS]
    found = await strategy("openai", Answering({"data": entries})).execute(["a", "b"], 1, 5.0)
    assert found[0] == VECTORS


@pytest.mark.parametrize("found", [3, {"values": []}, "x", None])
async def test_gemini_without_a_list_is_refused(found: object) -> None:
    """A number or an object in place of the vectors is no program error."""
    server = Answering({"embeddings": found})
    with pytest.raises(MalformedResponseError, match="0 vectors for 2 texts"):
        await strategy("gemini", server).execute(["a", "b"], 1, 5.0)
