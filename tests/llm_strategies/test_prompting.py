"""Saying more in the prompt, on bad answers only."""

from typing import Any

import pytest

from batchllm.core import ConfigError
from batchllm.llm_strategies import ProgressivePrompting
from batchllm.testing import Raise
from tests.llm_strategies.world import refused, run, says, scripted

pytestmark = pytest.mark.anyio


async def test_each_bad_answer_adds_a_text() -> None:
    """The first prompt is bare; the texts come one by one, and stay."""
    inner = scripted("one", *[Raise(KeyError)] * 3, says("right"))
    batch = await run(ProgressivePrompting(inner, ["Be brief.", "JSON only."]))
    assert batch.outputs == ["right"]
    assert inner.prompts == [
        "p",
        "p\n\nBe brief.",
        "p\n\nBe brief.\n\nJSON only.",
        "p\n\nBe brief.\n\nJSON only.",
    ]


async def test_a_lost_call_adds_nothing() -> None:
    """A server's error leaves the prompt as it is."""
    inner = scripted("one", refused(503), says("right"))
    await run(ProgressivePrompting(inner, ["Be brief."]))
    assert inner.prompts == ["p", "p"]


@pytest.mark.parametrize(
    ("prompt", "added"),
    [
        ([{"role": "user", "content": "p"}], {"role": "user", "content": "More."}),
        ([{"type": "image", "url": "u"}], {"type": "text", "text": "More."}),
    ],
)
async def test_prompts_keep_their_shape(prompt: Any, added: Any) -> None:
    """A list of messages gets a message, a list of parts gets a part."""
    inner = scripted("one", Raise(ValueError), says("right"))
    await run(ProgressivePrompting(inner, ["More."]), prompt)
    assert inner.prompts == [prompt, [*prompt, added]]


def test_additions_are_a_list_of_texts() -> None:
    """One text alone is a likely slip, and named."""
    with pytest.raises(ConfigError, match="additions"):
        ProgressivePrompting(scripted("one"), "Be brief.")
    assert ProgressivePrompting(scripted("one"), ["a"]).identity()["additions"] == ["a"]
