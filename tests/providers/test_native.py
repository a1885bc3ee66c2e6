"""Responses, Messages and Gemini against the simulator, in virtual time: alike where they may be.

Each test runs on each wire, whole and streamed.
"""

import itertools
from typing import Any, TypeAlias

import anyio
import pytest

from batchllm.classifiers import is_cut_off, may_be_billed
from batchllm.core import (
    Category,
    ConfigError,
    EmptyResponseError,
    LLMModel,
    MalformedResponseError,
    ManagedLLMModel,
    ProviderError,
    TransportError,
)
from batchllm.providers import AnthropicModel, GeminiClient, GeminiModel, ResponsesModel
from batchllm.simulator import Simulator, SimulatorTransport

pytestmark = pytest.mark.anyio

Model: TypeAlias = ResponsesModel | AnthropicModel | GeminiModel


def make_responses(http: SimulatorTransport, key: str, **settings: Any) -> Model:
    address = "http://sim.test/v1"
    return ResponsesModel("m", base_url=address, api_key=key, http=http, **settings)


def make_anthropic(http: SimulatorTransport, key: str, **settings: Any) -> Model:
    return AnthropicModel("m", base_url="http://sim.test", api_key=key, http=http, **settings)


def make_gemini(http: SimulatorTransport, key: str, **settings: Any) -> Model:
    client = GeminiClient(key, base_url="http://sim.test/v1beta", http=http)
    return GeminiModel("m", client, **settings)


MAKERS = {"openai": make_responses, "anthropic": make_anthropic, "gemini": make_gemini}


class World:
    """One wire, whole or streamed, and the simulator behind it."""

    def __init__(self, provider: str, stream: bool) -> None:
        self.provider = provider
        self.stream = stream
        self.simulator = Simulator("default")

    def model(self, scenario: str = "default", *, key: str = "sim-key", **settings: Any) -> Model:
        profile = "openai" if self.provider == "openai" else self.provider
        mark = "&" if "?" in scenario else "?"
        self.simulator = Simulator(f"{scenario}{mark}profile={profile}")
        settings = {"stream": self.stream} | settings
        return MAKERS[self.provider](SimulatorTransport(self.simulator), key, **settings)


@pytest.fixture(params=list(itertools.product(MAKERS, (False, True))), ids=str)
def world(request: pytest.FixtureRequest) -> World:
    """Whole answers and streamed ones have to come out alike on every wire."""
    return World(*request.param)


@pytest.fixture(params=MAKERS)
def whole(request: pytest.FixtureRequest) -> World:
    """Where streaming makes no difference."""
    return World(request.param, stream=False)


async def test_an_answer_comes_with_all_that_is_told_about_it(world: World) -> None:
    """Text, counts, finish reason and request id of an answer are there."""
    response = await world.model().generate("Say it. [[answer:It is said.]]")
    entry = world.simulator.log.entries[0]
    assert response.text == "It is said."
    assert response.token_usage["input_tokens"] == response.input_tokens == entry.input_tokens
    assert response.token_usage["output_tokens"] == response.output_tokens == entry.output_tokens
    assert response.token_usage["total_tokens"] == entry.input_tokens + entry.output_tokens
    assert response.metadata is not None
    assert response.metadata["finish_reason"] == "stop"
    assert response.metadata["request_id"] == entry.request_id
    assert str(response.metadata["model"]).startswith("m")
    assert entry.stream is world.stream


@pytest.mark.parametrize(
    "noise", ["byte-order-mark", "crlf", "gzip", "keep-alive", "multi-line", "split"]
)
async def test_odd_but_correct_replies_are_read(noise: str, world: World) -> None:
    """Nothing that a server may do to the bytes changes the answer."""
    response = await world.model().generate(f"[[fault:{noise}]] [[answer:grün und 😀]]")
    assert response.text == "grün und 😀"
    assert response.token_usage["total_tokens"] > 0


MEANINGS = {
    "400": Category.INVALID_REQUEST,
    "401": Category.AUTHENTICATION,
    "403": Category.PERMISSION,
    "429": Category.RATE_LIMIT,
    "500": Category.SERVER_ERROR,
    "502-html": Category.SERVER_ERROR,
    "503": Category.OVERLOADED,
    "200-html": Category.SERVER_ERROR,
    "connect": Category.CONNECTION,
    "content-filter": Category.FILTERED,
    "context-length": Category.TOO_LARGE,
    "disconnect-body=9": Category.CONNECTION,
    "empty": Category.BAD_OUTPUT,
    "empty-body": Category.SERVER_ERROR,
    "error-200": Category.SERVER_ERROR,
    "malformed-body": Category.SERVER_ERROR,
    "refusal": Category.FILTERED,
    "stream-error": Category.OVERLOADED,
}


@pytest.mark.parametrize("fault", MEANINGS)
async def test_a_fault_keeps_its_meaning(fault: str, world: World) -> None:
    """From the wire through the provider to the classifier, a fault arrives as what it is."""
    model = world.model()
    try:
        await model.generate(f"[[fault:{fault}]]")
    except Exception as error:  # whichever it is
        info = model.error_classifier.classify(error)
    else:
        pytest.fail("the fault did not show")
    assert info is not None
    assert info.error_category == MEANINGS[fault]


async def test_error_replies_say_what_they_are(world: World) -> None:
    """An error reply becomes a ProviderError that names provider, host and status."""
    words = rf"{world.provider} \(sim\.test\) answered 500"
    with pytest.raises(ProviderError, match=words) as caught:
        await world.model().generate("[[fault:500]]")
    assert caught.value.status == 500


@pytest.mark.parametrize("fault", ["200-html", "empty-body", "malformed-body"])
async def test_what_is_no_answer_is_malformed(fault: str, world: World) -> None:
    """A page, nothing, or half an answer with status 200 can be tried again."""
    with pytest.raises(MalformedResponseError, match=r"sim\.test"):
        await world.model().generate(f"[[fault:{fault}]]")


@pytest.mark.parametrize(("fault", "sent"), [("connect", False), ("disconnect", True)])
async def test_lost_connections_are_transport_errors(fault: str, sent: bool, world: World) -> None:
    """A connection that is refused or lost is a TransportError."""
    with pytest.raises(TransportError, match=r"sim\.test") as caught:
        await world.model().generate(f"[[fault:{fault}]]")
    assert caught.value.sent is sent


@pytest.mark.parametrize("provider", MAKERS)
async def test_a_stream_without_an_end_is_a_failure(provider: str) -> None:
    """Pieces without the closing one are never taken for the whole answer, nor for its bill."""
    model = World(provider, stream=True).model()
    with pytest.raises(MalformedResponseError, match=r"ended after \d+ (events|chunks)") as caught:
        await model.generate("[[fault:no-terminal]]")
    assert is_cut_off(caught.value)
    assert may_be_billed(caught.value)


@pytest.mark.parametrize("provider", MAKERS)
@pytest.mark.parametrize(("fault", "cut_off"), [("stream-error", True), ("error-200", False)])
async def test_an_error_amid_an_answer_leaves_its_bill_open(
    provider: str, fault: str, cut_off: bool
) -> None:
    """Its status says nothing; an error in place of an answer is a refusal, which costs nothing."""
    model = World(provider, stream=cut_off).model()
    with pytest.raises(ProviderError) as caught:
        await model.generate(f"[[fault:{fault}]]")
    assert is_cut_off(caught.value) is cut_off
    assert may_be_billed(caught.value) is cut_off or caught.value.status == 200


async def test_missing_usage_is_unknown(world: World) -> None:
    """Where a server counts nothing, the usage says so instead of zero."""
    response = await world.model().generate("[[fault:no-usage]]")
    assert response.text
    assert response.token_usage == {}


@pytest.mark.parametrize("fault", ["content-filter", "refusal", "empty"])
async def test_no_answer_is_an_error_with_its_tokens(fault: str, world: World) -> None:
    """A filter, a refusal or an empty answer fails, with the reply and what it cost."""
    with pytest.raises(EmptyResponseError) as caught:
        await world.model().generate(f"[[fault:{fault}]]")
    assert caught.value.usage is not None
    assert caught.value.usage["input_tokens"] > 0
    assert caught.value.response.metadata["finish_reason"] in ("filtered", "stop")


async def test_a_cut_answer_keeps_its_text(world: World) -> None:
    """An answer that max_tokens cut off comes back, and its metadata say so."""
    response = await world.model().generate("[[fault:length]]")
    assert response.text
    assert response.metadata is not None
    assert response.metadata["finish_reason"] == "length"


async def test_an_unknown_finish_reason_is_accepted(world: World) -> None:
    """A word that nobody knows yet does not cost the answer."""
    response = await world.model().generate("[[fault:unknown-finish]]")
    assert response.metadata is not None
    assert response.metadata["finish_reason"] == "unknown"


@pytest.mark.parametrize("provider", MAKERS)
async def test_every_piece_marks_progress(provider: str) -> None:
    """A streamed answer marks its start and each event; a whole one marks nothing."""
    marks: list[float] = []

    def mark() -> None:
        marks.append(anyio.current_time())

    world = World(provider, stream=True)
    await world.model("default?per_token=0.5&tokens=4").generate("hello", progress=mark)
    gaps = [after - before for before, after in itertools.pairwise(marks)]
    assert len(marks) > 2
    assert sum(gaps) > 1.4
    assert 0.4 < max(gaps) < 2.1
    count = len(marks)
    await world.model(stream=False).generate("hello", progress=mark)
    assert len(marks) == count


@pytest.mark.parametrize("provider", MAKERS)
async def test_a_stalled_stream_can_be_cancelled(provider: str) -> None:
    """A stream that stands still is left at a deadline, and the server sees the client go."""
    world = World(provider, stream=True)
    model = world.model()
    with anyio.move_on_after(30) as scope:
        await model.generate("[[fault:stall-body]]")
    assert scope.cancelled_caught
    assert world.simulator.log.entries[0].outcome == "aborted"


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


async def test_a_schema_is_followed(world: World) -> None:
    """With a schema the answer is JSON of that kind."""
    response = await world.model(schema=SCHEMA).generate("Who?")
    assert response.text.startswith('{"')
    assert '"age"' in response.text


async def test_an_answer_that_is_no_json_is_a_value_error(world: World) -> None:
    """With a schema, anything but JSON fails with its text and tokens; a cut one says why."""
    model = world.model(schema=SCHEMA)
    with pytest.raises(ValueError, match="no JSON although a schema was given") as caught:
        await model.generate("[[fault:invalid-json]]")
    error: Any = caught.value
    assert error.response.text
    assert error._failed_token_usage["output_tokens"] > 0
    with pytest.raises(ValueError, match="raise max_tokens"):
        await model.generate("[[fault:length]]")


async def test_messages_and_parts_arrive(whole: World) -> None:
    """Chat messages and content parts of the chat wire are understood by every other."""
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "text", "text": "hi"}]},
        {"role": "user", "content": [{"type": "text", "text": "[[answer:Fine.]]"}]},
    ]
    model = whole.model()
    assert (await model.generate(messages)).text == "Fine."
    parts = [
        {"type": "text", "text": "Look: [[answer:Seen.]]"},
        {"type": "image", "data": b"\x89PNG", "media_type": "image/png"},
        {"type": "image", "url": "http://pictures.test/1.png"},
        {"type": "file", "data": "aGVsbG8=", "filename": "a.pdf"},
    ]
    assert (await model.generate(parts)).text == "Seen."


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (7, "a int"),
        ([], "is a list|is empty"),
        ([{"role": "user", "content": "x"}, {"content": "y"}], "no role|no type"),
        ([{"role": "user", "content": 7}], "a int"),
        ([{"type": "image"}], "has no data"),
        ([{"text": "x", "odd": 1}, 7], "has no type|a list|a int"),
    ],
)
async def test_a_prompt_of_another_shape_is_told(prompt: Any, words: str, whole: World) -> None:
    """A value that is no prompt fails with what a prompt may be, before anything is sent."""
    with pytest.raises(ValueError, match=words):
        await whole.model().generate(prompt)
    assert not whole.simulator.log.entries


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("temprature", "did you mean 'temperature'"),
        ("stream", "say stream=True"),
        ("messages", "they are the prompt"),
    ],
)
async def test_unknown_parameters_are_refused_by_name(name: str, words: str, whole: World) -> None:
    """A parameter that would be ignored or refused is told before anything is sent."""
    with pytest.raises(ConfigError, match=words):
        whole.model(parameters={name: 1})
    model = whole.model()
    with pytest.raises(ConfigError, match=words):
        await model.generate("hello", config={name: 1})
    assert not whole.simulator.log.entries


async def test_a_marked_system_prompt_is_read_from_the_cache() -> None:
    """Anthropic writes a marked system prompt once and reads it afterwards; both are counted."""
    model = World("anthropic", stream=False).model(cache_system=True)
    system = "All that is known of the matter. " * 400
    first = await model.generate("hello", system_instruction=system)
    second = await model.generate("hello again", system_instruction=system)
    written = first.token_usage["cache_write_tokens"]
    assert written > 1000
    assert second.cached_input_tokens == written
    assert second.input_tokens > written


async def test_the_worst_case_is_told(whole: World) -> None:
    """With max_tokens a call's tokens are known before it is made."""
    cost = whole.model(parameters={"max_tokens": 50}).estimate("x" * 400)
    assert cost is not None
    assert (cost.input_tokens, cost.output_tokens) == (116, 50)
    if whole.provider != "anthropic":
        assert whole.model().estimate("x") is None


async def test_a_model_is_what_the_protocols_ask_for(world: World) -> None:
    """A model can be prepared and cleaned up any number of times."""
    model = world.model()
    as_protocol: ManagedLLMModel = model
    assert isinstance(model, LLMModel)
    await as_protocol.prepare()
    await as_protocol.generate("hello")
    await as_protocol.cleanup()
    await as_protocol.cleanup()
    assert (await as_protocol.generate("hello again")).text


async def test_a_wrong_key_shows_nowhere(world: World) -> None:
    """A server that repeats the key in its error does not bring it into ours."""
    key = "canary-0123456789"
    model = world.model("strict", key=key)
    with pytest.raises(ProviderError) as caught:
        await model.generate("hello")
    shown = f"{caught.value} {caught.value!r} {model!r} {model.identity()} {model.quota_scope}"
    assert model.error_classifier.classify(caught.value) is not None
    assert key not in shown


async def test_identities_tell_models_apart(whole: World) -> None:
    """Parameters and schema are part of what names a model in records."""
    plain, hot = whole.model(), whole.model(parameters={"temperature": 1.0}, extra={"x": 1})
    assert plain.identity() != hot.identity()
    assert hot.identity()["parameters"]["x"] == 1
    assert whole.model(schema=SCHEMA).identity()["schema"] == SCHEMA
