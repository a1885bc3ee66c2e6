"""Strategies over clients of OpenAI's and Anthropic's shape, without those packages."""

import json
from types import SimpleNamespace as Thing
from typing import Any, ClassVar
from unittest.mock import AsyncMock, MagicMock

import anyio
import pytest
from attrs import frozen

from batchllm.api import run_batch
from batchllm.classifiers import AnthropicErrorClassifier, OpenAIErrorClassifier
from batchllm.core import (
    CallCost,
    EmptyResponseError,
    MalformedResponseError,
    ProcessorConfig,
    ProviderError,
    QuotaScope,
    RetryConfig,
    RetryState,
    StrategyError,
)
from batchllm.llm_strategies import AnthropicStrategy, GeminiStrategy, OpenAIStrategy, llm
from batchllm.providers import GeminiCachedModel, GeminiEmbeddingStrategy, GeminiModel
from batchllm.providers.adapters import client_scope

pytestmark = pytest.mark.anyio

ONCE = ProcessorConfig(retry=RetryConfig(max_attempts=1))
TWICE = ProcessorConfig(retry=RetryConfig(max_attempts=2, jitter=False))


@frozen
class Person:
    """A person that is asked for."""

    name: str


class OpenAIClient:
    """Answers like ``AsyncOpenAI``, with whatever it is given."""

    base_url = "https://api.openai.com/v1/"
    api_key = "sk-secret"

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.requests: list[dict[str, Any]] = []
        self.chat = Thing(completions=Thing(create=self._create))

    async def _create(self, **request: Any) -> Any:
        self.requests.append(request)
        return self.reply


class AnthropicClient:
    """Answers like ``AsyncAnthropic``, with whatever it is given."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.requests: list[dict[str, Any]] = []
        self.messages = Thing(create=self._create)

    async def _create(self, **request: Any) -> Any:
        self.requests.append(request)
        return self.reply


def completion(content: Any = "hello", reason: str = "stop", **message: Any) -> Thing:
    return Thing(
        id="c1",
        model="gpt-x-1",
        choices=[Thing(message=Thing(content=content, **message), finish_reason=reason)],
        usage=Thing(
            prompt_tokens=10,
            completion_tokens=5,
            total_tokens=15,
            prompt_tokens_details=Thing(cached_tokens=4),
        ),
    )


def message(*texts: str, reason: str = "end_turn") -> Thing:
    return Thing(
        content=[Thing(type="text", text=text) for text in texts],
        stop_reason=reason,
        usage=Thing(input_tokens=10, output_tokens=5, cache_read_input_tokens=90),
    )


async def ask(strategy: Any, prompt: Any = "hi") -> Any:
    return await strategy.execute(prompt, 1, 10.0, RetryState())


async def test_a_completion_is_read_with_its_tokens() -> None:
    """Text, counts and finish reason come out as from our own client."""
    client = OpenAIClient(completion())
    strategy = OpenAIStrategy(client, "gpt-x", system="Be brief.", temperature=0.3, seed=7)
    text, usage, metadata = await ask(strategy)
    assert text == "hello"
    assert usage == {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "cached_input_tokens": 4,
    }
    assert metadata["finish_reason"] == "stop"
    assert metadata["model"] == "gpt-x-1"
    assert client.requests == [
        {
            "model": "gpt-x",
            "seed": 7,
            "temperature": 0.3,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "hi"},
            ],
        }
    ]


async def test_a_message_is_read_with_its_tokens() -> None:
    """Blocks are joined, and cached tokens count as input."""
    client = AnthropicClient(message("hel", "lo"))
    text, usage, metadata = await ask(AnthropicStrategy(client, "claude-x", system="Be brief."))
    assert text == "hello"
    assert usage["input_tokens"] == 100
    assert usage["cached_input_tokens"] == 90
    assert metadata["finish_reason"] == "stop"
    assert client.requests == [
        {
            "model": "claude-x",
            "max_tokens": 1024,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [{"role": "user", "content": "hi"}],
        }
    ]


async def test_mappings_are_replies_too() -> None:
    """A client may answer with plain dictionaries."""
    reply = {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 1}}
    text, usage, _ = await ask(OpenAIStrategy(OpenAIClient(reply), "m"))
    assert (text, usage["input_tokens"]) == ("hi", 1)
    reply = {"content": [{"type": "text", "text": "hi"}]}
    text, usage, _ = await ask(AnthropicStrategy(AnthropicClient(reply), "m"))
    assert (text, usage) == ("hi", None)


async def test_the_least_that_a_client_can_say_is_enough() -> None:
    """A block without a type is a text."""
    strategy = AnthropicStrategy(AnthropicClient(Thing(content=[Thing(text="hi")])), "m")
    assert await ask(strategy) == ("hi", None, {"finish_reason": "unknown"})


async def test_mocks_are_clients() -> None:
    """A mock has what it was given, not what it would invent."""
    client = MagicMock()
    client.chat.completions.create = AsyncMock(return_value=completion("from a mock"))
    assert (await ask(OpenAIStrategy(client, "m")))[0] == "from a mock"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (completion(None, refusal="I will not."), "refused: I will not"),
        (completion("", "content_filter"), "content filter"),
        (completion(""), "empty answer"),
        (completion("", "length"), "raise max_tokens"),
    ],
)
async def test_no_answer_is_an_error_with_its_tokens(reply: Any, reason: str) -> None:
    """Refusals, filters and empty texts fail, and what they cost is known."""
    with pytest.raises(EmptyResponseError, match=reason) as caught:
        await ask(OpenAIStrategy(OpenAIClient(reply), "m"))
    assert caught.value.usage is not None
    assert caught.value.usage["input_tokens"] == 10


async def test_a_refused_message_is_an_error() -> None:
    """Anthropic's stop reason says so."""
    with pytest.raises(EmptyResponseError, match="content filter"):
        await ask(AnthropicStrategy(AnthropicClient(message(reason="refusal")), "m"))


@pytest.mark.parametrize("reply", ["no reply", Thing(choices=3), Thing(choices=None)])
async def test_something_else_is_malformed(reply: Any) -> None:
    """An odd reply fails its attempt with a sentence."""
    with pytest.raises(MalformedResponseError):
        await ask(OpenAIStrategy(OpenAIClient(reply), "m"))


async def test_a_message_without_content_is_malformed() -> None:
    """A message that has no blocks is no answer."""
    with pytest.raises(MalformedResponseError, match="no content"):
        await ask(AnthropicStrategy(AnthropicClient(Thing(content=None)), "m"))


async def test_types_are_asked_for_by_the_clients_own_mode() -> None:
    """The schema goes where each client takes it, and the answer is parsed."""
    openai = OpenAIClient(completion('{"name": "Ann"}'))
    assert (await ask(OpenAIStrategy(openai, "m", output=Person)))[0] == Person("Ann")
    wanted = openai.requests[0]["response_format"]["json_schema"]
    assert (wanted["name"], wanted["strict"]) == ("Person", True)
    anthropic = AnthropicClient(message('{"name": "Ann"}'))
    strategy = AnthropicStrategy(anthropic, "m", output=Person, output_config={"effort": "low"})
    assert (await ask(strategy))[0] == Person("Ann")
    config = anthropic.requests[0]["output_config"]
    assert config["effort"] == "low"
    assert config["format"]["schema"]["required"] == ["name"]


class OptionsClient(OpenAIClient):
    """Has what the real clients have: options, and replies with their headers."""

    async_parse = False

    def __init__(self, reply: Any, retries: int = 2) -> None:
        super().__init__(reply)
        self.retries = retries
        self.chat = Thing(completions=_Completions(self))

    def with_options(self, *, max_retries: int) -> "OptionsClient":
        other = type(self)(self.reply, max_retries)
        other.requests = self.requests
        return other


class _Completions:
    def __init__(self, client: OptionsClient) -> None:
        self.client = client

    @property
    def with_raw_response(self) -> Any:
        return Thing(create=self._create)

    async def _create(self, **request: Any) -> Any:
        self.client.requests.append({**request, "retries": self.client.retries})
        return _Raw(self.client)


class _Raw:
    def __init__(self, client: OptionsClient) -> None:
        self.client = client
        self.headers = {"X-Request-Id": "r1", "X-RateLimit-Limit-Requests": "600"}

    def parse(self) -> Any:
        async def later() -> Any:
            return self.client.reply

        return later() if self.client.async_parse else self.client.reply


@pytest.mark.parametrize("is_async", [False, True])
async def test_headers_and_retries_of_a_real_client(is_async: bool) -> None:
    """Its own retries are off, and what the headers tell about limits is heard."""
    client = OptionsClient(completion())
    client.async_parse = is_async
    strategy = OpenAIStrategy(client, "m")
    response = await strategy.model.generate("hi")
    assert client.requests[0]["retries"] == 0
    assert client.retries == 2
    assert response.metadata is not None
    assert response.metadata["request_id"] == "r1"
    assert response.hint is not None
    assert response.hint.limits[0].amount == 600


def test_the_scope_is_the_one_of_our_own_client() -> None:
    """One account at one provider shares its limits, by whatever it is called."""
    ours = llm("openai:gpt-x", api_key="sk-secret", base_url="https://api.openai.com/v1")
    theirs = OpenAIStrategy(OpenAIClient(None), "gpt-x")
    assert theirs.quota_scope == ours.quota_scope
    assert "sk-secret" not in repr(theirs) + str(theirs.identity())


def test_other_servers_behind_a_client_have_their_own_scope() -> None:
    """The address says whose quota it is; a key that is no text is left out."""
    client = Thing(base_url="https://openrouter.ai/api/v1/", api_key=lambda: "k")
    assert client_scope(client, "m", "openai") == QuotaScope(
        "openrouter", "https://openrouter.ai/api/v1", "", "m"
    )
    assert client_scope(Thing(), "m", "openai") == QuotaScope("openai", "", "", "m")


def test_the_classifier_is_the_providers() -> None:
    """Each strategy says who explains its errors."""
    openai = OpenAIStrategy(OpenAIClient(None), "m")
    assert isinstance(openai.error_classifier, OpenAIErrorClassifier)
    anthropic = AnthropicStrategy(AnthropicClient(None), "m")
    assert isinstance(anthropic.error_classifier, AnthropicErrorClassifier)


def test_costs_are_known_where_the_answer_is_bounded() -> None:
    """Anthropic's always are."""
    assert OpenAIStrategy(OpenAIClient(None), "m").estimate("x" * 400) is None
    bounded = OpenAIStrategy(OpenAIClient(None), "m", max_completion_tokens=50)
    assert bounded.estimate("x" * 400) == CallCost(1, 116, 50)
    assert AnthropicStrategy(AnthropicClient(None), "m").estimate("x" * 400) == CallCost(
        1, 116, 1024
    )


def test_what_is_no_client_is_refused() -> None:
    """The message names what is missing."""
    with pytest.raises(StrategyError, match=r"a dict, which has no chat\.completions\.create\(\)"):
        OpenAIStrategy({}, "m")
    with pytest.raises(StrategyError, match=r"no messages\.create\(\)"):
        AnthropicStrategy(Thing(messages=Thing()), "m")


@pytest.mark.parametrize(
    "reply",
    [
        Thing(choices=None, error={"message": "slow sk-secret", "code": 429}),
        {"object": "error", "message": "slow", "type": "RateLimitError", "code": 429},
        {"choices": [{"finish_reason": "error", "error": {"message": "slow", "code": 429}}]},
    ],
)
async def test_an_error_that_the_client_lets_pass_keeps_its_status(reply: Any) -> None:
    """OpenRouter and its like answer 200, and the client takes that for an answer."""
    strategy = OpenAIStrategy(OpenAIClient(reply), "m")
    with pytest.raises(ProviderError, match="slow") as caught:
        await ask(strategy)
    assert caught.value.status == 429
    assert "sk-secret" not in str(caught.value)


async def test_anthropics_client_lets_errors_pass_too() -> None:
    """So do gateways behind it."""
    reply = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}
    with pytest.raises(ProviderError, match="slow") as caught:
        await ask(AnthropicStrategy(AnthropicClient(reply), "m"))
    info = AnthropicErrorClassifier().classify(caught.value)
    assert info.is_rate_limit


async def test_a_mock_of_a_reply_has_no_error() -> None:
    """It has every attribute, and none of them is JSON."""
    reply = MagicMock()
    reply.choices = [Thing(message=Thing(content="hi"), finish_reason="stop")]
    reply.usage = None
    assert (await ask(OpenAIStrategy(OpenAIClient(reply), "m")))[0] == "hi"


class RefusingClient(OpenAIClient):
    """Raises as SDKs do: with the server's words in arguments, fields, notes and the cause."""

    api_key = "0123/key+without=shape"
    auth_token = "token-without-shape"
    _custom_headers: ClassVar[dict[str, Any]] = {"X-Team-Key": "team-key-without-shape", "X-No": 1}

    async def _create(self, **request: Any) -> Any:
        said = f"no entry for {self.api_key}"
        error = RefusedError(f"Error code: 401 - {said}", {"error": [said, self.auth_token]})
        error.body = {"error": {"message": said, "seen": ("team-key-without-shape",)}}
        error.page = said.encode()
        error.add_note(said)
        raise error from ValueError(said)


class RefusedError(Exception):
    """As an SDK's."""

    body: Any
    page: bytes


@pytest.mark.parametrize("in_stream", [False, True])
async def test_no_key_of_a_client_stays_in_what_it_raises(in_stream: bool) -> None:
    """A key of no known shape is masked, wherever the SDK has put the server's words."""
    client = RefusingClient(None)
    given = {"stream": True} if in_stream else {}
    result = await run_batch(["hi"], OpenAIStrategy(client, "gpt-x", **given), config=ONCE)
    error = result.results[0].exception
    assert isinstance(error, RefusedError)
    assert result.results[0].error == (
        "RefusedError: ('Error code: 401 - no entry for ***', {'error': ['no entry for ***', "
        "'***']})"
    )
    assert error.body == {"error": {"message": "no entry for ***", "seen": ("***",)}}
    assert error.page == b"no entry for ***"
    assert error.__notes__ == ["no entry for ***"]
    assert str(error.__cause__) == "no entry for ***"


@pytest.mark.parametrize("body", ["<html>502 of key-without-shape", '{"choices": [{"mess'])
async def test_what_a_client_cannot_read_is_asked_for_again_after_a_wait(body: str) -> None:
    """A page of a gateway, or half an answer, is no mistake of the model."""

    async def read(**request: Any) -> Any:
        return json.loads(body)

    client = OpenAIClient(None)
    client.chat.completions.create = read
    client.api_key = "key-without-shape"
    gemini = Thing(aio=Thing(models=Thing(generate_content=read)), _api_client=client)
    for strategy in (
        OpenAIStrategy(client, "gpt-x"),
        GeminiStrategy(model=GeminiModel("gemini-x", gemini), response_parser=str),
    ):
        began = anyio.current_time()
        result = (await run_batch(["hi"], strategy, config=TWICE)).results[0]
        assert isinstance(result.exception, MalformedResponseError)
        assert result.attempts == 2
        assert anyio.current_time() - began >= 1.0
        assert body[:5] in str(result.exception)
        assert "key-without-shape" not in str(result.exception)


async def test_an_exception_that_cannot_be_changed_passes_as_it_is() -> None:
    """A client's own may refuse any assignment."""

    class Frozen(Exception):
        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(name)

    client = OpenAIClient(None)
    client.chat.completions.create = AsyncMock(side_effect=Frozen("sk-secret-0123456789"))
    result = await run_batch(["hi"], OpenAIStrategy(client, "gpt-x"), config=ONCE)
    assert result.results[0].error == "Frozen: ***"


async def test_no_key_of_googles_client_stays_in_what_it_raises() -> None:
    """Its key is where only it should look; answers, vectors and caches are alike."""
    key = "google-key-of-no-shape"

    async def refuse(**request: Any) -> Any:
        raise RuntimeError(f"no entry for {key}")

    models = Thing(generate_content=refuse, embed_content=refuse)
    caches = Thing(**dict.fromkeys(["create", "get", "list", "update", "delete"], refuse))
    client = Thing(aio=Thing(models=models, caches=caches), _api_client=Thing(api_key=key))
    model = GeminiModel("gemini-x", client)
    for call in (
        model.generate("hi"),
        GeminiEmbeddingStrategy("gemini-x", client).execute("hi", 1, 9),
        GeminiCachedModel("gemini-x", client, "text").prepare(),
        GeminiCachedModel("gemini-x", client, "text").generate("hi"),
    ):
        with pytest.raises(RuntimeError, match=r"no entry for \*\*\*$"):
            await call
