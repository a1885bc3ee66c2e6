"""Options of models and clients: misspelt, of a wrong kind, or taken from the environment."""

from collections.abc import Callable
from typing import Any

import pytest

from batchllm.core import ConfigError
from batchllm.llm_strategies import llm, provider_variables, providers
from batchllm.providers import (
    AnthropicModel,
    ChatModel,
    ChatProfile,
    EmbeddingStrategy,
    GeminiClient,
    GeminiEmbeddingStrategy,
    GeminiModel,
    ResponsesModel,
)

Maker = Callable[..., Any]
KINDS: list[Maker] = [ChatModel, ResponsesModel, AnthropicModel, EmbeddingStrategy]


@pytest.mark.parametrize("kind", [*KINDS, GeminiClient])
def test_a_misspelt_option_is_refused_under_the_name_of_its_class(kind: Any) -> None:
    """The class that the user wrote is named, with what was meant."""
    with pytest.raises(ConfigError, match=f"{kind.__name__}.*base_ur.*did you mean.*base_url"):
        kind("m", base_ur="http://api.test")


def test_options_of_one_class_are_suggested_too() -> None:
    """Those that only this class has are among the known ones; a subclass has its own name."""

    class Mine(AnthropicModel):
        """A user's own."""

    misspelt: Any = {"cache_sytem": True}
    with pytest.raises(ConfigError, match=r"Mine.*cache_sytem.*did you mean.*cache_system"):
        Mine("m", api_key="k", **misspelt)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("stream", "yes", "stream is a str; give True or False"),
        ("parameters", ["temperature"], "parameters is a list; give a mapping"),
        ("extra", 3, "extra is an int; give a mapping"),
        ("schema", str, "schema is the class str; give a JSON schema"),
        ("base_url", 8000, "base_url is an int; give an address"),
    ],
)
def test_an_option_of_a_wrong_kind_gets_a_sentence(option: str, value: Any, words: str) -> None:
    """It names class, option and remedy."""
    given: Any = {option: value}
    with pytest.raises(ConfigError, match=f"ResponsesModel.{words}"):
        ResponsesModel("m", api_key="k", **given)


def test_a_profile_that_is_none_is_named() -> None:
    """A misspelt one with the nearest, another thing by its kind."""
    with pytest.raises(ConfigError, match="did you mean 'ollama'"):
        ChatModel("m", profile="olama")
    wrong: Any = 3
    with pytest.raises(ConfigError, match=r"profile is .*an int"):
        EmbeddingStrategy("m", profile=wrong)


def test_no_key_is_in_the_frames_of_a_refusal() -> None:
    """No local variable of our frames has a key when something is refused."""
    with pytest.raises(ConfigError) as caught:
        AnthropicModel("m", api_key="canary-0123", headers={"x": "canary-4"}, cache_system="7m")  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as other:
        GeminiClient("canary-0123", base_ur="x")  # type: ignore[call-arg]
    for error in (caught, other):
        frames = [entry.frame for entry in error.traceback[1:]]
        assert frames
        assert "canary" not in repr([frame.f_locals for frame in frames])


def address_of(made: Any) -> str:
    return str((getattr(made, "http", None) or made._client).base_url)


@pytest.mark.parametrize(
    ("kind", "variable", "path"),
    [
        (ChatModel, "OPENAI_BASE_URL", ""),
        (ResponsesModel, "OPENAI_BASE_URL", ""),
        (EmbeddingStrategy, "OPENAI_BASE_URL", ""),
        (AnthropicModel, "ANTHROPIC_BASE_URL", ""),
        (lambda name, **given: GeminiClient(**given), "GEMINI_BASE_URL", ""),
        (
            lambda name, **given: ChatModel(name, profile="azure", **given),
            "AZURE_OPENAI_ENDPOINT",
            "/openai/v1",
        ),
        (
            lambda name, **given: ChatModel(
                name, profile=ChatProfile(provider="my-own", base_url="http://mine.test"), **given
            ),
            "MY_OWN_BASE_URL",
            "",
        ),
    ],
)
def test_addresses_are_found_as_llm_finds_them(
    kind: Maker, variable: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider's variable leads every class to its server, and an argument overrules it."""
    monkeypatch.setenv(variable, "http://env.test/api/")
    assert address_of(kind("m", api_key="k")) == f"http://env.test/api{path}"
    given = kind("m", api_key="k", base_url="http://given.test")
    assert address_of(given) == "http://given.test"


def test_every_provider_has_its_variables() -> None:
    """Each name that llm knows says which variables it reads."""
    assert provider_variables("azure") == ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_BASE_URL")
    assert provider_variables("openai-responses") == provider_variables("openai")
    for provider in providers():
        assert all(provider_variables(provider))


def test_gemini_misuse_gets_a_sentence() -> None:
    """Of models and strategies over a client."""
    client = GeminiClient("k")
    wrong: Any = "yes"
    with pytest.raises(ConfigError, match=r"GeminiModel.stream is 'yes'; give True or False"):
        GeminiModel("m", client, stream=wrong)
    with pytest.raises(ConfigError, match=r"GeminiModel.model is None; give the model's name"):
        GeminiModel(None, client)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="client is a str; give a GeminiClient"):
        GeminiEmbeddingStrategy("m", "key")
    with pytest.raises(ConfigError, match="give it as a text"):
        GeminiClient(123)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown parameter 'temprature' for gemini"):
        llm("gemini:m", api_key="k", temprature=1)
