"""Odd replies through other people's clients: mappings, Pydantic models, loose objects."""

import copy
import warnings
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from batchllm.core import CallError, LLMResponse
from batchllm.providers import (
    AnthropicClientModel,
    GeminiModel,
    OpenAIClientModel,
    OpenAIResponsesClientModel,
)
from tests.providers.lines import examples as of_a_wire
from tests.providers.test_odd_replies import MEANINGS, NEVER, anything, every_change, harmless
from tests.providers.valid_replies import HIDDEN, REPLIES, TEXT

pytestmark = pytest.mark.anyio

examples = settings(of_a_wire, max_examples=of_a_wire.max_examples // 2)
DEPTHS = {"<too deep>": 5_000, "<deep>": 700}


class Client:
    """Answers like the clients of all three providers, with what it is given.

    If it is asked for a stream it gives the entries of a list, one after the other.
    """

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.chat = SimpleNamespace(completions=self)
        self.messages = self
        self.responses = self
        self.aio = SimpleNamespace(models=self)

    async def create(self, **request: Any) -> Any:
        return self._pieces() if request.get("stream") else self.reply

    async def _pieces(self) -> AsyncIterator[Any]:
        for piece in self.reply:
            yield piece

    async def generate_content(self, **request: Any) -> Any:
        return self.reply


def written_out(value: Any) -> Any:
    """Put what JSON would have been read as in place of the marks."""
    if isinstance(value, dict):
        return {name: written_out(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [written_out(inner) for inner in value]
    if value == "<too big>":
        return float("inf")
    deep: Any = []
    for _ in range(DEPTHS.get(value, 0) if isinstance(value, str) else 0):
        deep = [deep]
    return deep or value


def as_mapping(wire: str, value: Any, *, is_event: bool) -> Any:
    return value


def as_thing(wire: str, value: Any, *, is_event: bool) -> Any:
    """Make an object with attributes of each mapping, down to what no client reads."""
    return _thing(value, 8)


def _thing(value: Any, depth: int) -> Any:
    if isinstance(value, dict) and depth:
        return SimpleNamespace(**{name: _thing(one, depth - 1) for name, one in value.items()})
    if isinstance(value, list) and depth:
        return [_thing(one, depth - 1) for one in value]
    return value


def as_the_sdk(wire: str, value: Any, *, is_event: bool) -> Any:
    """Make what the provider's own package makes of it; ``None`` if it refuses by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if wire == "gemini":
            types = pytest.importorskip("google.genai.types")
            try:
                return types.GenerateContentResponse.model_validate(value)
            except (ValueError, TypeError, AttributeError, RecursionError):
                return None
        package, whole, event = {
            "chat": ("openai", "chat.ChatCompletion", "chat.ChatCompletionChunk"),
            "responses": ("openai", "responses.Response", "responses.ResponseStreamEvent"),
            "anthropic": ("anthropic", "Message", "RawMessageStreamEvent"),
        }[wire]
        path, _, name = f"{package}.types.{event if is_event else whole}".rpartition(".")
        kind = getattr(pytest.importorskip(path), name)
        return pytest.importorskip(f"{package}._models").construct_type(type_=kind, value=value)


def model(wire: str, reply: Any, *, stream: bool) -> Any:
    client = Client(reply)
    if wire == "gemini":
        return GeminiModel("m", client)
    kinds: dict[str, Any] = {
        "chat": OpenAIClientModel,
        "responses": OpenAIResponsesClientModel,
        "anthropic": AnthropicClientModel,
    }
    return kinds[wire](client, "m", parameters={"stream": stream})


@frozen
class Oddity:
    """A valid reply, or its events, with changes."""

    wire: str
    value: Any
    is_streamed: bool
    touched: set[Any]


async def ask(way: Callable[..., Any], oddity: Oddity) -> LLMResponse | CallError | None:
    """Give the answer, the error if it is one of ours, or ``None`` if the package refuses."""
    wire, value = oddity.wire, oddity.value
    if oddity.is_streamed:
        read = [way(wire, event, is_event=True) for event in value]
    else:
        read = way(wire, value, is_event=False)
    if read is None:
        return None
    try:
        answer = await model(wire, read, stream=oddity.is_streamed).generate("x")
    except CallError as error:
        return error
    assert isinstance(answer, LLMResponse)
    assert isinstance(answer.text, str)
    return answer


@st.composite
def oddities(draw: Any, allowed: Any) -> Oddity:
    position, as_events = draw(st.integers(0, len(REPLIES) - 1)), draw(st.booleans())
    reply = REPLIES[position]
    as_events = as_events and reply.wire != "gemini"
    value: Any = copy.deepcopy(reply.events if as_events else reply.whole)
    every = every_change(position, as_events, allowed)
    drawn = draw(st.lists(st.sampled_from(every), max_size=3))
    for change in drawn:
        change.apply(value)
    touched = {change.path[-1] for change in drawn}
    return Oddity(reply.wire, written_out(value), as_events, touched)


WAYS: list[Callable[..., Any]] = [as_mapping, as_thing, as_the_sdk]
ways = pytest.mark.parametrize("way", WAYS)


@ways
@given(oddity=oddities(harmless))
@examples
async def test_oddities_beside_a_whole_text_do_no_harm(
    way: Callable[..., Any], oddity: Oddity
) -> None:
    """Fields that lack, that are new, or that are of another type."""
    answer = await ask(way, oddity)
    if answer is not None:
        assert isinstance(answer, LLMResponse), answer
        assert answer.text == TEXT


@ways
@given(oddity=oddities(anything))
@examples
async def test_no_oddity_raises_anything_but_our_errors(
    way: Callable[..., Any], oddity: Oddity
) -> None:
    """And nothing becomes an answer that was a thought, an argument or a quotation."""
    answer = await ask(way, oddity)
    if isinstance(answer, LLMResponse) and oddity.touched.isdisjoint(MEANINGS | NEVER):
        assert not any(word in answer.text for word in HIDDEN)
