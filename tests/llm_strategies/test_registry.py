"""Names to strategies, and everything else that may stand for one."""

import json
from typing import Any

import httpx
import pytest

from batchllm.core import ConfigError, LLMResponse, ProviderError, RetryState, StrategyError
from batchllm.llm_strategies import (
    CallableStrategy,
    ModelStrategy,
    as_strategy,
    llm,
    providers,
)
from batchllm.providers import PROFILES, ChatModel

pytestmark = pytest.mark.anyio

PLAIN = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own keys and proxies play no part."""
    for name in (*providers(), "google"):
        prefix = "AZURE_OPENAI" if name == "azure" else name.upper().replace("-", "_")
        for what in ("API_KEY", "BASE_URL", "ENDPOINT"):
            monkeypatch.delenv(f"{prefix}_{what}", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Server:
    """Answers every request alike and keeps it."""

    def __init__(self, answer: Any = PLAIN) -> None:
        self.answer = answer
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await request.aread()
        return httpx.Response(200, json=self.answer)

    @property
    def sent(self) -> Any:
        return json.loads(self.requests[-1].content)


async def test_a_name_is_enough_for_the_simulator() -> None:
    """The embedded simulator answers by name, with no key and no network."""
    output, usage, metadata = await llm("sim:default").execute(
        "Say it. [[answer:Said.]]", 1, 10.0, RetryState()
    )
    assert output == "Said."
    assert usage is not None
    assert metadata is not None
    assert metadata["finish_reason"] == "stop"


async def test_simulators_are_not_shared() -> None:
    """Each strategy has a simulator of its own, so that one's quota is not another's."""
    one, other = llm("sim:quota?rpm=1&burst=1"), llm("sim:quota?rpm=1&burst=1")
    await one.execute("hello", 1, 10.0)
    await other.execute("hello", 1, 10.0)
    with pytest.raises(ProviderError, match="429"):
        await one.execute("hello", 1, 10.0)


async def test_settings_reach_the_wire() -> None:
    """All that llm is given is in the request."""
    server = Server()
    strategy = llm(
        "openai:gpt-x",
        system="be kind",
        temperature=0.5,
        max_tokens=9,
        base_url="http://api.test/v1",
        api_key="k1",
        headers={"x-team": "a"},
        extra={"new": 1},
        http=server,
        seed=7,
        stop=None,
    )
    await strategy.execute("hello", 1, 10.0)
    assert server.sent == {
        "model": "gpt-x",
        "temperature": 0.5,
        "max_completion_tokens": 9,
        "seed": 7,
        "new": 1,
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "hello"},
        ],
    }
    headers = server.requests[0].headers
    assert (headers["authorization"], headers["x-team"]) == ("Bearer k1", "a")


async def test_stream_is_asked_for() -> None:
    """stream=True is passed to the model."""
    server = Server()
    await llm("vllm:m", http=server, stream=True).execute("hello", 1, 10.0)
    assert server.sent["stream"] is True


@pytest.mark.parametrize("provider", sorted(PROFILES))
async def test_keys_and_addresses_come_from_the_environment(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each provider's own variables are read when the strategy is made."""
    prefix = "AZURE_OPENAI" if provider == "azure" else provider.upper().replace("-", "_")
    monkeypatch.setenv(f"{prefix}_API_KEY", "from-environment")
    monkeypatch.setenv(f"{prefix}_BASE_URL", "http://env.test/api")
    server = Server()
    await llm(f"{provider}:m:tag", http=server).execute("hello", 1, 10.0)
    profile = PROFILES[provider]
    (request,) = server.requests
    assert request.headers[profile.auth_header] == f"{profile.auth_prefix}from-environment"
    assert str(request.url) == "http://env.test/api/chat/completions"
    assert server.sent["model"] == "m:tag"


MESSAGE = {"content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}
CANDIDATE = {"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}
OUTPUT = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}


@pytest.mark.parametrize(
    ("name", "variables", "path", "header", "answer"),
    [
        ("openai-responses", "OPENAI", "/responses", "authorization", {"output": [OUTPUT]}),
        ("anthropic", "ANTHROPIC", "/v1/messages", "x-api-key", MESSAGE),
        (
            "gemini",
            "GEMINI",
            "/models/m:generateContent",
            "x-goog-api-key",
            {"candidates": [CANDIDATE]},
        ),
    ],
)
async def test_providers_with_a_wire_of_their_own(
    name: str,
    variables: str,
    path: str,
    header: str,
    answer: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Responses, Anthropic and Gemini go by name, with variables, system and parameters."""
    with pytest.raises(ConfigError, match=f"{variables}_API_KEY"):
        llm(f"{name}:m")
    monkeypatch.setenv(f"{variables}_API_KEY", "from-environment")
    monkeypatch.setenv(f"{variables}_BASE_URL", "http://env.test/api")
    server = Server({"status": "completed", **answer})
    strategy = llm(f"{name}:m", http=server, system="be kind", temperature=0.5, max_tokens=9)
    output, _, metadata = await strategy.execute("hello", 1, 10.0)
    assert output == "hi"
    assert metadata is not None
    assert metadata["finish_reason"] == "stop"
    (request,) = server.requests
    assert str(request.url) == f"http://env.test/api{path}"
    assert request.headers[header].endswith("from-environment")
    assert "be kind" in json.dumps(server.sent)
    assert 0.5 in (server.sent.get("generationConfig") or server.sent).values()
    assert 9 in (server.sent.get("generationConfig") or server.sent).values()


async def test_anthropics_prompt_cache_is_a_parameter() -> None:
    """cache_system is for the model, and is not sent."""
    server = Server(MESSAGE)
    strategy = llm("anthropic:m", http=server, system="be kind", cache_system="1h")
    await strategy.execute("hello", 1, 10.0)
    assert server.sent["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert "cache_system" not in server.sent


async def test_googles_own_variable_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key under the name that Google's tools use is taken, and no temperature is set."""
    monkeypatch.setenv("GOOGLE_API_KEY", "from-google")
    server = Server({"candidates": [CANDIDATE]})
    await llm("gemini:m", http=server).execute("hello", 1, 10.0)
    assert server.requests[0].headers["x-goog-api-key"] == "from-google"
    assert "generationConfig" not in server.sent


async def test_azures_endpoint_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that Azure's own tools read leads to its v1 address."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://res.openai.azure.test/")
    server = Server()
    await llm("azure:dep", api_key="k", http=server).execute("hello", 1, 10.0)
    address = "https://res.openai.azure.test/openai/v1/chat/completions"
    assert str(server.requests[0].url) == address


async def test_a_transport_of_ones_own_may_hold_the_key() -> None:
    """Behind a user's transport no key is asked for, and none is sent."""
    server = Server()
    await llm("openai:m", http=server).execute("hello", 1, 10.0)
    assert "authorization" not in server.requests[0].headers


def test_a_local_server_needs_no_key() -> None:
    """Ollama and vLLM have an address of their own and ask for no key."""
    assert "localhost:11434" in repr(llm("ollama:llama3.2"))
    assert "localhost:8000" in repr(llm("vllm:m"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("openai:gpt-x", "openai needs a key: set OPENAI_API_KEY, or give api_key"),
        ("azure:dep", "azure has no address .* AZURE_OPENAI_BASE_URL"),
        ("openai-compatible:m", "OPENAI_COMPATIBLE_BASE_URL"),
        ("opnai:gpt-x", "unknown provider 'opnai'; did you mean 'openai'.*Known are anthropic"),
        ("zzz:m", r"unknown provider 'zzz'\. Known are"),
        ("gpt-x", "'gpt-x' names no provider; write 'provider:model' with one of anthropic"),
        ("", "names no provider"),
        ("openai:", "'openai:' names no model; write 'openai:model'"),
        ("openai", "'openai' names no model"),
        ("sim:nowhere", "unknown scenario 'nowhere'"),
    ],
)
def test_what_is_missing_is_told(name: str, words: str) -> None:
    """A name that cannot be followed says what is known and what to set."""
    with pytest.raises(ConfigError, match=words):
        llm(name)


@pytest.mark.parametrize("name", [123, None, ["sim:default"]])
def test_a_name_is_a_text(name: Any) -> None:
    """Anything else ended in an AttributeError about ``partition``."""
    with pytest.raises(ConfigError, match=r"the name of a model is .*give a text such as"):
        llm(name)


def test_a_wrong_parameter_is_told() -> None:
    """A parameter that the provider does not know is refused with the nearest one."""
    with pytest.raises(ConfigError, match="did you mean 'top_p'"):
        llm("sim:default", topp=1)


def test_a_proxy_is_handed_over_as_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables are read here, and only for connections of our own."""
    seen: list[str | None] = []
    make = ChatModel.__init__

    def spy(self: ChatModel, model: str, **settings: Any) -> None:
        seen.append(settings["proxy"])
        make(self, model, **settings)

    monkeypatch.setattr(ChatModel, "__init__", spy)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    llm("openai:m", api_key="k")
    llm("openai:m", api_key="k", http=Server())
    llm("ollama:m")
    llm("sim:default")
    assert seen == ["http://proxy.test:3128", None, None, None]


def test_a_key_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither repr nor identity nor quota scope of a strategy holds its key."""
    monkeypatch.setenv("OPENAI_API_KEY", "canary-0123456789")
    strategy = llm("openai:m")
    shown = f"{strategy!r} {strategy.identity()} {strategy.quota_scope} {vars(strategy)}"
    assert "canary" not in shown
    assert strategy.quota_scope != llm("openai:m", api_key="another-key").quota_scope
    assert strategy.quota_scope == llm("openai:m").quota_scope


class Model:
    async def generate(self, prompt: Any, **settings: Any) -> LLMResponse:
        return LLMResponse("model")


async def answer(prompt: str) -> str:
    return "function"


async def test_everything_that_may_be_a_strategy_is_one() -> None:
    """A strategy, a name, a model and a function are accepted."""
    mine = ModelStrategy(Model())
    assert as_strategy(mine) is mine
    assert isinstance(as_strategy("sim:default"), ModelStrategy)
    assert isinstance(as_strategy(answer), CallableStrategy)
    for value, expected in ((Model(), "model"), (answer, "function")):
        assert (await as_strategy(value).execute("p", 1, 1.0))[0] == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (7, "the strategy is an int; give an LLMCallStrategy"),
        (None, "the strategy is None"),
        (Model, "the strategy is the class Model; give an instance"),
    ],
)
def test_what_is_no_strategy_is_refused(value: object, words: str) -> None:
    """Anything else is told, with what to give."""
    with pytest.raises(StrategyError, match=words):
        as_strategy(value)


def test_a_provider_is_found_in_any_case() -> None:
    """People write OpenAI and DeepSeek; a model's name is left as it is."""
    shown = repr(llm("OpenAI:GPT-X", api_key="k"))
    assert shown == repr(llm("openai:GPT-X", api_key="k"))
    assert "GPT-X" in shown
    assert repr(llm("Ollama:x")) == repr(llm("ollama:x"))
