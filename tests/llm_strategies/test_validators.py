"""Strategies are attrs classes whose fields are checked, when they are made and when assigned."""

import inspect
from collections.abc import Callable
from typing import Any

import attrs
import pytest

import batchllm.llm_strategies
import batchllm.providers
from batchllm.core import ConfigError, LLMCallStrategy, LLMResponse, StrategyError
from batchllm.llm_strategies import (
    AnthropicStrategy,
    Balance,
    CallableStrategy,
    Fallback,
    GeminiStrategy,
    KeyRotation,
    LangChainStrategy,
    ModelStrategy,
    OpenAIResponsesStrategy,
    OpenAIStrategy,
    OutputStrategy,
    PartialRecovery,
    ProgressivePrompting,
    ProgressiveTemperature,
    PydanticAIStrategy,
    ResponseCache,
    ValidationFeedback,
    llm,
)
from batchllm.providers import (
    EmbeddingStrategy,
    GeminiCachedModel,
    GeminiClient,
    GeminiEmbeddingStrategy,
)


class Model:
    async def generate(self, prompt: Any, **settings: Any) -> LLMResponse:
        return LLMResponse("model")


class Runnable:
    async def ainvoke(self, given: Any) -> Any:
        return given


class Agent:
    async def run(self, prompt: Any) -> Any:
        return prompt


FACES = (batchllm.llm_strategies, batchllm.providers)
CLASSES = {
    kind
    for face in FACES
    for kind in vars(face).values()
    if inspect.isclass(kind) and issubclass(kind, LLMCallStrategy) and kind is not LLMCallStrategy
}
SIM = llm("sim:default")


@pytest.mark.parametrize("kind", sorted(CLASSES, key=lambda kind: kind.__name__))
def test_every_strategy_is_an_attrs_class_that_checks(kind: Any) -> None:
    """Each that users make has fields, and a validator at one of them at least."""
    assert attrs.has(kind)
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(kind)
    assert any(field.validator is not None for field in fields)


WRONG: list[tuple[Callable[..., Any], type[Exception], str]] = [
    (lambda: ModelStrategy(3), StrategyError, "the model is an int, which has no generate"),
    (lambda: ModelStrategy(Model(), 3), ConfigError, "response_parser is 3; give a function"),
    (
        lambda: ModelStrategy(Model(), temperature="hot"),
        ConfigError,
        "ModelStrategy.temperature is 'hot'; give a number of at least 0, or None",
    ),
    (lambda: ModelStrategy(Model(), temperature=-1), ConfigError, "temperature is -1"),
    (lambda: ModelStrategy(Model(), system=b"x"), ConfigError, "system is b'x'; give a text"),
    (lambda: ModelStrategy(Model(), config=[1]), ConfigError, r"config is \[1\]; give a mapping"),
    (
        lambda: OutputStrategy(Model(), int, error_classifier=3),
        ConfigError,
        "OutputStrategy.error_classifier is 3; give an ErrorClassifier, or None",
    ),
    (
        lambda: GeminiStrategy(Model(), include_metadata="yes"),
        ConfigError,
        "GeminiStrategy.include_metadata is 'yes'; give True or False",
    ),
    (
        lambda: OpenAIStrategy(Agent(), "m"),
        StrategyError,
        r"a Agent, which has no chat.completions.create\(\)",
    ),
    (lambda: CallableStrategy(len, threads=0), ConfigError, "threads is 0; give a whole number"),
    (lambda: CallableStrategy(3), StrategyError, "a int is no function"),
    (lambda: Balance([SIM], [1, 2]), ConfigError, "weights has 2 entries for 1 strategies"),
    (lambda: Fallback([]), StrategyError, "got an empty list"),
    (lambda: ResponseCache(SIM, store=[]), ConfigError, r"store is \[\]; give a mapping"),
    (
        lambda: ValidationFeedback(SIM, [int]),
        ConfigError,
        r"output is \[<class 'int'>\]; give a type, such as list\[str\]",
    ),
    (lambda: PartialRecovery(SIM, "Person"), ConfigError, "output is 'Person'; give a type"),
    (lambda: ProgressivePrompting(SIM, "more"), ConfigError, "additions is 'more'; give a list"),
    (lambda: ProgressiveTemperature(SIM, [2, "x"]), ConfigError, "temperatures holds 'x'"),
    (
        lambda: LangChainStrategy(Runnable(), to_input="question"),
        ConfigError,
        "to_input is 'question'; give a function from prompt to input",
    ),
    (
        lambda: LangChainStrategy(Runnable(), config=[1]),
        ConfigError,
        r"LangChainStrategy.config is \[1\]; give a mapping",
    ),
    (
        lambda: PydanticAIStrategy(Agent(), bridge="yes"),
        ConfigError,
        "bridge is 'yes'; give True, False, None or an AsyncioBridge",
    ),
    (
        lambda: EmbeddingStrategy("m", api_key="k", error_classifier=3),
        ConfigError,
        "EmbeddingStrategy.error_classifier is 3; give an ErrorClassifier",
    ),
    (
        lambda: GeminiCachedModel("m", GeminiClient("k"), "x", cache_ttl_seconds="1h"),
        ConfigError,
        "GeminiCachedModel.cache_ttl_seconds is '1h'; give a number above 0",
    ),
    (
        lambda: GeminiCachedModel("m", GeminiClient("k"), "x", cache_tags=["a"]),
        ConfigError,
        r"cache_tags is \['a'\]; give a mapping of texts",
    ),
    (
        lambda: GeminiEmbeddingStrategy(None, GeminiClient("k")),
        ConfigError,
        "GeminiEmbeddingStrategy.model is None; give the model's name",
    ),
]


@pytest.mark.parametrize(("make", "error", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_a_wrong_argument_names_field_value_and_remedy(
    make: Callable[..., Any], error: type[Exception], words: str
) -> None:
    """Each message says what to change."""
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ModelStrategy(Model(), temprature=1), "ModelStrategy.* did you mean temperature"),
        (lambda: Balance([SIM], weight=[1]), "Balance.* has no argument weight; .* weights"),
        (lambda: ResponseCache(SIM, sotre={}), "ResponseCache.* did you mean store"),
        (lambda: CallableStrategy(len, thread=1), "CallableStrategy.* did you mean threads"),
        (lambda: LangChainStrategy(Runnable(), to_inputs=len), "LangChain.* did you mean to_input"),
        (
            lambda: GeminiCachedModel("m", GeminiClient("k"), "x", cache_ttl=60),
            "GeminiCachedModel.* did you mean cache_t",
        ),
    ],
)
def test_a_misspelt_argument_is_explained(make: Callable[..., Any], words: str) -> None:
    """The class that was written is named, with what was meant."""
    with pytest.raises(ConfigError, match=words):
        make()


def test_a_misspelt_setting_is_refused_under_the_name_that_was_written() -> None:
    """Settings that are passed on, to llm or to a client of an SDK, are no exception."""
    with pytest.raises(ConfigError, match=r"KeyRotation: .*'wieghts'.*did you mean weights"):
        KeyRotation("openai:m", ["k1", "k2"], wieghts=[1, 2])
    with pytest.raises(ConfigError, match=r"KeyRotation: .*did you mean 'temperature'"):
        KeyRotation("openai:m", ["k1"], temprature=1)
    with pytest.raises(ConfigError, match=r"PydanticAIStrategy\(\) .*bridg; did you mean bridge"):
        PydanticAIStrategy(Agent(), bridg=True)
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    client = openai.AsyncOpenAI(api_key="k")
    for kind, words in (
        (OpenAIStrategy, r"OpenAIStrategy\(\) has no argument max_token; did you mean max_tokens"),
        (OpenAIResponsesStrategy, r"OpenAIResponsesStrategy\(\) .*did you mean max_"),
    ):
        with pytest.raises(ConfigError, match=words):
            kind(client, "m", max_token=5)
    with pytest.raises(ConfigError, match=r"no argument zzz; .*extra_body={'zzz': …}"):
        AnthropicStrategy(anthropic.AsyncAnthropic(api_key="k"), "m", zzz=1)
    assert OpenAIStrategy(client, "m", seed=1, extra_body={"zzz": 1}).model.stream is False


def test_what_is_assigned_later_is_checked_too() -> None:
    """A strategy that is changed by hand cannot become one that could not have been made."""
    strategy = ModelStrategy(Model())
    strategy.temperature = 0.5
    wrong: Any = "hot"
    with pytest.raises(ConfigError, match="temperature is 'hot'"):
        strategy.temperature = wrong
    assert strategy.temperature == 0.5
    fallback = Fallback([SIM])
    with pytest.raises(StrategyError, match=r"Fallback.parts is \['a'\]; give a tuple"):
        fallback.parts = wrong = ["a"]


def test_a_subclass_with_fields_of_its_own_is_named_by_them() -> None:
    """The fields of a plain subclass count for its identity as they do for any strategy."""

    class Mine(ModelStrategy[str]):
        def __init__(self, tone: str) -> None:
            super().__init__(Model())
            self.tone = tone
            self._seen = 0

    identity = Mine("dry").identity()
    assert identity["tone"] == "dry"
    assert "seen" not in identity
    assert identity != Mine("wet").identity()
