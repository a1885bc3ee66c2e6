"""The middlewares that are ready to use."""

import re
from typing import Any

import pytest

from batchllm.api import run_batch
from batchllm.core import ConfigError
from batchllm.middleware import RedactingMiddleware, SkippingMiddleware
from batchllm.testing import ScriptedStrategy

pytestmark = pytest.mark.anyio


async def sent(prompt: Any, middleware: RedactingMiddleware) -> Any:
    """Return the prompt that reaches the strategy."""
    strategy = ScriptedStrategy()
    await run_batch([prompt], strategy, middlewares=[middleware])
    return strategy.prompts[0]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Write to ann.lee+x@mail.example.org now.", "Write to [email] now."),
        ("sk-proj-abcdefghijklmnop1234 is it", "[key] is it"),
        ("Card 4111 1111 1111 1111, please", "Card [card], please"),
        ("In 2024 there were 1,234,567.", "In 2024 there were 1,234,567."),
    ],
)
async def test_what_looks_secret_is_replaced(prompt: str, expected: str) -> None:
    """Addresses, keys and card numbers go out by name; other numbers stay."""
    assert await sent(prompt, RedactingMiddleware()) == expected


async def test_messages_and_parts_are_redacted_where_they_have_text() -> None:
    """Roles, and data that is no text, are not touched."""
    hidden = RedactingMiddleware({"name": re.compile("ann", re.IGNORECASE)})
    image = {"type": "image", "data": "ANNannANN"}
    prompt = [
        {"role": "ann", "content": "Ann"},
        {"role": "user", "content": [{"type": "text", "text": "I am Ann."}, image, 7]},
    ]
    assert await sent(prompt, hidden) == [
        {"role": "ann", "content": "[name]"},
        {"role": "user", "content": [{"type": "text", "text": "I am [name]."}, image, 7]},
    ]


async def test_the_submitted_item_is_not_changed() -> None:
    """The result still belongs to the item with its own id and context."""
    batch = await run_batch(
        [("id", "a@b.example", {"kept": 1})],
        ScriptedStrategy(),
        middlewares=[RedactingMiddleware()],
    )
    assert batch.results[0].context == {"kept": 1}
    assert batch.outputs == ["[email]"]


def test_a_pattern_has_to_be_one() -> None:
    """A broken pattern is named when it is given, not at the first item."""
    with pytest.raises(ConfigError, match="'half'"):
        RedactingMiddleware({"half": "("})


async def test_items_are_left_out_by_a_condition() -> None:
    """Those for which it holds are skipped, and nobody is asked."""
    strategy = ScriptedStrategy()
    skip = SkippingMiddleware(lambda item: not item.prompt.strip())
    batch = await run_batch(["a", " ", "b"], strategy, middlewares=[skip])
    assert (batch.succeeded, batch.skipped) == (2, 1)
    assert sorted(strategy.prompts) == ["a", "b"]
