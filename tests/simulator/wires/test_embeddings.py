"""Embeddings of the OpenAI family."""

import math
import struct
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest

Desks = Callable[..., Any]


def embed(asked: Any, given: Any, **fields: Any) -> Any:
    return asked.send("POST", "/v1/embeddings", {"model": "e", "input": given} | fields)


def test_vectors_follow_from_their_texts(desk: Desks) -> None:
    """Each text has its vector of length 1, in order, whatever the batch it comes in."""
    asked = desk()
    both = embed(asked, ["a", "b"]).json
    assert [row["index"] for row in both["data"]] == [0, 1]
    assert [row["embedding"] for row in both["data"]] == [
        embed(asked, text).json["data"][0]["embedding"] for text in ("a", "b")
    ]
    assert both["data"][0]["embedding"] != both["data"][1]["embedding"]
    assert math.hypot(*both["data"][0]["embedding"]) == pytest.approx(1)
    assert both["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


def test_vectors_may_be_packed_and_longer(desk: Desks) -> None:
    """Base64 holds the same numbers as float32; the length can be chosen."""
    plain = embed(desk(), "a", dimensions=40).json["data"][0]["embedding"]
    packed = embed(desk(), "a", dimensions=40, encoding_format="base64").json["data"][0][
        "embedding"
    ]
    assert list(struct.unpack("<40f", b64decode(packed))) == plain


@pytest.mark.parametrize("given", [[], None, [1], [""], 3, ["x"] * 2049])
def test_wrong_inputs_are_refused(desk: Desks, given: Any) -> None:
    """Nothing, too much and what is no text is a 400."""
    assert embed(desk(), given).status == 400


def test_faults_reach_embeddings(desk: Desks) -> None:
    """Statuses, missing usage and streams that are none."""
    assert embed(desk(), "[[fault:429=3]]").headers["retry-after"] == "3"
    assert "usage" not in embed(desk(), "[[fault:no-usage]]").json
    assert embed(desk(), "x", stream=True).json["object"] == "list"
