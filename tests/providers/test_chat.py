"""Chat Completions against the simulator, in virtual time: what is asked, and what comes back."""

import itertools
from typing import Any

import anyio
import pytest

from batchllm.core import (
    EmptyResponseError,
    LLMModel,
    MalformedResponseError,
    ManagedLLMModel,
    ProviderError,
    TransportError,
)
from batchllm.providers import ChatModel
from batchllm.simulator import Simulator, SimulatorTransport

pytestmark = pytest.mark.anyio


def simulated(scenario: str = "default", **settings: Any) -> tuple[ChatModel, Simulator]:
    simulator = Simulator(scenario)
    model = ChatModel(
        "gpt-x",
        base_url="http://sim.test/v1",
        api_key=settings.pop("api_key", "sim-key"),
        http=SimulatorTransport(simulator),
        **settings,
    )
    return model, simulator


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    """Whole answers and streamed ones have to come out alike."""
    return bool(request.param)


async def test_an_answer_comes_with_all_that_is_told_about_it(stream: bool) -> None:
    """Text, counts, finish reason and request id of an answer are there."""
    model, simulator = simulated(stream=stream)
    response = await model.generate("Say it. [[answer:It is said.]]")
    entry = simulator.log.entries[0]
    assert response.text == "It is said."
    assert response.token_usage["input_tokens"] == response.input_tokens == entry.input_tokens
    assert response.token_usage["output_tokens"] == response.output_tokens == entry.output_tokens
    assert response.metadata is not None
    assert response.metadata["finish_reason"] == "stop"
    assert response.metadata["request_id"] == entry.request_id
    assert response.metadata["model"] == "gpt-x"
    assert entry.stream is stream


@pytest.mark.parametrize(
    "noise",
    ["byte-order-mark", "crlf", "gzip", "keep-alive", "multi-line", "split", "wrong-date"],
)
async def test_odd_but_correct_replies_are_read(noise: str, stream: bool) -> None:
    """Nothing that a server may do to the bytes changes the answer."""
    model, _ = simulated(stream=stream)
    response = await model.generate(f"[[fault:{noise}]] [[answer:grün und 😀]]")
    assert response.text == "grün und 😀"
    assert response.token_usage["total_tokens"] > 0


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("400", 400, None),
        ("401", 401, "invalid_api_key"),
        ("404", 404, "model_not_found"),
        ("429", 429, "rate_limit_exceeded"),
        ("500", 500, None),
        ("503", 503, "server_is_overloaded"),
        ("insufficient-quota", 429, "insufficient_quota"),
        ("context-length", 400, "context_length_exceeded"),
    ],
)
async def test_error_replies_say_what_they_are(
    fault: str, status: int, code: str | None, stream: bool
) -> None:
    """An error reply becomes a ProviderError with status, code and request id."""
    model, simulator = simulated(stream=stream)
    with pytest.raises(ProviderError, match=f"openai \\(sim.test\\) answered {status}") as caught:
        await model.generate(f"[[fault:{fault}]]")
    assert caught.value.status == caught.value.status_code == status
    assert code is None or caught.value.code == code
    assert caught.value.request_id == simulator.log.entries[0].request_id


async def test_a_told_wait_comes_with_the_error(stream: bool) -> None:
    """The wait that a refusal asks for is in its hint."""
    model, _ = simulated(stream=stream)
    with pytest.raises(ProviderError) as caught:
        await model.generate("[[fault:429=7]]")
    assert caught.value.hint is not None
    assert caught.value.hint.wait == pytest.approx(7.0)


async def test_limits_come_with_an_answer(stream: bool) -> None:
    """Rate-limit headers of a success are in the response's hint."""
    model, _ = simulated("quota?rpm=600&burst=10", stream=stream)
    response = await model.generate("hello")
    assert response.hint is not None
    (limit,) = [one for one in response.hint.limits if one.dimension == "requests"]
    assert limit.amount == 600


@pytest.mark.parametrize("fault", ["error-200", "stream-error"])
async def test_an_error_inside_a_success_is_an_error(fault: str, stream: bool) -> None:
    """A reply with status 200 that carries an error is none."""
    model, _ = simulated(stream=stream)
    with pytest.raises(ProviderError, match="server"):
        await model.generate(f"[[fault:{fault}]]")


@pytest.mark.parametrize("fault", ["200-html", "empty-body", "malformed-body"])
async def test_what_is_no_answer_is_malformed(fault: str, stream: bool) -> None:
    """A page, nothing, or half an answer with status 200 can be tried again."""
    model, _ = simulated(stream=stream)
    with pytest.raises(MalformedResponseError, match=r"sim\.test"):
        await model.generate(f"[[fault:{fault}]]")


async def test_a_gateways_page_is_named_as_such(stream: bool) -> None:
    """An HTML page with an error status is told in words."""
    model, _ = simulated(stream=stream)
    with pytest.raises(ProviderError, match="502: an HTML page") as caught:
        await model.generate("[[fault:502-html]]")
    assert caught.value.status == 502


async def test_a_redirect_is_told_and_not_followed(stream: bool) -> None:
    """A redirect names the new address, and the key does not go there."""
    model, simulator = simulated(stream=stream)
    with pytest.raises(ProviderError, match=r"307.*set base_url to where it is now: https://") as e:
        await model.generate("[[fault:redirect]]")
    assert e.value.status == 307
    assert len(simulator.log.entries) == 1


@pytest.mark.parametrize(
    ("fault", "sent"), [("connect", False), ("disconnect", True), ("disconnect-body=9", True)]
)
async def test_lost_connections_say_whether_the_request_went_out(
    fault: str, sent: bool, stream: bool
) -> None:
    """A connection that is refused or lost is a TransportError."""
    model, _ = simulated(stream=stream)
    with pytest.raises(TransportError, match=r"sim\.test") as caught:
        await model.generate(f"[[fault:{fault}]]")
    assert caught.value.sent is sent


async def test_a_stream_without_an_end_is_a_failure() -> None:
    """Chunks without a finish reason are never taken for the whole answer."""
    model, _ = simulated(stream=True)
    with pytest.raises(MalformedResponseError, match="no finish reason"):
        await model.generate("[[fault:no-terminal]]")


async def test_missing_usage_is_unknown(stream: bool) -> None:
    """Where a server counts nothing, the usage says so instead of zero."""
    model, _ = simulated(stream=stream)
    response = await model.generate("[[fault:no-usage]]")
    assert response.text
    assert response.token_usage == {}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("content-filter", "content filter of openai stopped the answer"),
        ("refusal", "the model refused"),
        ("empty", "gave an empty answer"),
    ],
)
async def test_no_answer_is_an_error_with_its_tokens(fault: str, words: str, stream: bool) -> None:
    """A filter, a refusal or an empty answer fails, with the reply and what it cost."""
    model, _ = simulated(stream=stream)
    with pytest.raises(EmptyResponseError, match=words) as caught:
        await model.generate(f"[[fault:{fault}]]")
    assert caught.value.usage is not None
    assert caught.value.usage["input_tokens"] > 0
    assert caught.value.response.metadata["finish_reason"] in ("filtered", "stop")


async def test_a_cut_answer_keeps_its_text(stream: bool) -> None:
    """An answer that max_tokens cut off comes back, and its metadata say so."""
    model, _ = simulated(stream=stream)
    response = await model.generate("[[fault:length]]")
    assert response.text
    assert response.metadata is not None
    assert response.metadata["finish_reason"] == "length"


async def test_an_unknown_finish_reason_is_accepted(stream: bool) -> None:
    """A word that nobody knows yet does not cost the answer."""
    model, _ = simulated(stream=stream)
    response = await model.generate("[[fault:unknown-finish]]")
    assert response.metadata is not None
    assert response.metadata["finish_reason"] == "unknown"


async def test_every_chunk_marks_progress() -> None:
    """A streamed answer marks its start and each event; a whole one marks nothing."""
    marks: list[float] = []
    model, _ = simulated("default?per_token=0.5&tokens=4", stream=True)
    await model.generate("hello", progress=lambda: marks.append(anyio.current_time()))
    gaps = [after - before for before, after in itertools.pairwise(marks)]
    assert len(marks) > 4
    assert sum(gaps) > 1.5
    assert 0.4 < max(gaps) < 1.1  # a chunk is a token or two
    count = len(marks)
    whole, _ = simulated()
    await whole.generate("hello", progress=lambda: marks.append(0.0))
    assert len(marks) == count


async def test_a_stalled_stream_can_be_cancelled() -> None:
    """A stream that stands still is left at a deadline, and the server sees the client go."""
    model, simulator = simulated(stream=True)
    with anyio.move_on_after(30) as scope:
        await model.generate("[[fault:stall-body]]")
    assert scope.cancelled_caught
    assert simulator.log.entries[0].outcome == "aborted"


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


async def test_a_schema_is_followed(stream: bool) -> None:
    """With a schema the answer is JSON of that kind."""
    model, _ = simulated(schema=SCHEMA, stream=stream)
    response = await model.generate("Who?")
    assert response.text.startswith('{"')
    assert '"age"' in response.text


@pytest.mark.parametrize("fault", ["invalid-json", "fenced", "trailing"])
async def test_an_answer_that_is_no_json_is_a_value_error(fault: str, stream: bool) -> None:
    """With a schema of the model's own, anything but JSON fails with its text and tokens."""
    model, _ = simulated(schema=SCHEMA, stream=stream)
    with pytest.raises(ValueError, match="no JSON although a schema was given") as caught:
        await model.generate(f"[[fault:{fault}]]")
    error: Any = caught.value
    assert error.response.text
    assert error._failed_token_usage["output_tokens"] > 0


async def test_a_schema_answer_that_was_cut_says_why() -> None:
    """JSON that max_tokens cut off names the remedy."""
    model, _ = simulated(schema=SCHEMA)
    with pytest.raises(ValueError, match="raise max_tokens"):
        await model.generate("[[fault:length]]")


async def test_a_model_is_what_the_protocols_ask_for() -> None:
    """A chat model can be prepared and cleaned up any number of times."""
    model, _ = simulated()
    as_protocol: ManagedLLMModel = model
    assert isinstance(model, LLMModel)
    await as_protocol.prepare()
    await as_protocol.generate("hello")
    await as_protocol.cleanup()
    await as_protocol.cleanup()
    assert (await as_protocol.generate("hello again")).text


async def test_a_wrong_key_shows_nowhere() -> None:
    """A server that repeats the key in its error does not bring it into ours."""
    key = "canary-0123456789"
    model, _ = simulated("strict", api_key=key)
    with pytest.raises(ProviderError) as caught:
        await model.generate("hello")
    shown = f"{caught.value} {caught.value!r} {model!r} {model.identity()} {model.quota_scope}"
    assert caught.value.status == 401
    assert key not in shown
