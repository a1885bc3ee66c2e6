"""The strategy that asks one model, with models of every make."""

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import frozen

from batchllm.classifiers import DefaultErrorClassifier, OpenAIErrorClassifier
from batchllm.core import (
    CallCost,
    CallGuard,
    ErrorClassifier,
    LLMCallStrategy,
    LLMResponse,
    QuotaScope,
    Reply,
    RetryState,
    ServerHint,
    StrategyError,
    TokenTrackingError,
)
from batchllm.llm_strategies import ModelStrategy, llm

pytestmark = pytest.mark.anyio

HINT = ServerHint(wait=1.0)


class Model:
    """The least that a model is: it answers, and keeps how it was asked."""

    def __init__(self, response: LLMResponse | None = None) -> None:
        self.response = response or LLMResponse("hi", 1, 2, 3, metadata={"id": "r"})
        self.asked: list[dict[str, Any]] = []

    async def generate(
        self,
        prompt: Any,
        *,
        temperature: float = 0.0,
        system_instruction: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> LLMResponse:
        self.asked.append(
            {"prompt": prompt, "temperature": temperature, "system": system_instruction}
            | dict(config or {})
        )
        return self.response


class Managed(Model):
    """A model with everything that a model may have."""

    quota_scope = QuotaScope("mine", model="m")
    error_classifier: ErrorClassifier | None = None

    def __init__(self, response: LLMResponse | None = None) -> None:
        super().__init__(response)
        self.calls: list[str] = []

    async def prepare(self) -> None:
        self.calls.append("prepare")

    def cleanup(self) -> None:
        self.calls.append("cleanup")

    def estimate(self, prompt: Any) -> CallCost:
        return CallCost(1, len(prompt), 5)

    def identity(self) -> Mapping[str, Any]:
        return {"name": "m"}

    async def generate(self, prompt: Any, *, progress: Any = None, **settings: Any) -> LLMResponse:
        if progress is not None:
            progress()
        return await super().generate(prompt, **settings)


class Guard(CallGuard):
    def __init__(self) -> None:
        self.marks = 0
        self.hints: list[ServerHint] = []

    def progress(self) -> None:
        self.marks += 1

    def observe(self, hint: ServerHint) -> None:
        self.hints.append(hint)

    async def call(
        self, inner: LLMCallStrategy[Any], prompt: Any, attempt: int, timeout: float
    ) -> Reply:
        raise AssertionError


async def test_the_text_is_the_output() -> None:
    """Without a parser the text comes out, with usage and metadata."""
    model = Model()
    strategy: ModelStrategy[str] = ModelStrategy(model, system="be kind", config={"x": 1})
    output, usage, metadata = await strategy.execute("hello", 1, 10.0)
    assert output == "hi"
    assert usage is not None
    assert usage["total_tokens"] == 3
    assert metadata == {"id": "r"}
    assert model.asked == [{"prompt": "hello", "temperature": 0.0, "system": "be kind", "x": 1}]


async def test_another_model_may_be_assigned() -> None:
    """The next call asks it, and counts against its quota."""
    strategy: ModelStrategy[str] = ModelStrategy(Model())
    other: Any = Model(LLMResponse("from the other"))
    other.quota_scope = QuotaScope("other")
    strategy.model = other
    assert (await strategy.execute("hello", 1, 10.0))[0] == "from the other"
    assert strategy.quota_scope == QuotaScope("other")


async def test_a_parser_makes_the_output() -> None:
    """A parser sees the whole response."""
    strategy = ModelStrategy(Model(), lambda response: response.output_tokens, temperature=0.7)
    output, _, _ = await strategy.execute("hello", 1, 10.0)
    assert output + 1 == 3


async def test_temperature_none_is_left_to_the_model() -> None:
    """A temperature of None is not passed on."""
    model = Managed()
    await ModelStrategy(model, temperature=None).execute("hello", 1, 10.0)
    await ModelStrategy(model, temperature=0.3).execute("hello", 1, 10.0)
    assert [asked["temperature"] for asked in model.asked] == [0.0, 0.3]


async def test_unknown_usage_stays_unknown() -> None:
    """A response that says nothing of tokens does not count as zero."""
    _, usage, _ = await ModelStrategy(Model(LLMResponse("x", usage={}))).execute("p", 1, 1.0)
    assert usage is None


async def test_zeros_are_no_counts() -> None:
    """Some servers send them for counts that they do not have, and no call takes nothing."""
    zeros = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    _, usage, _ = await ModelStrategy(Model(LLMResponse("x", usage=zeros))).execute("p", 1, 1.0)
    assert usage is None
    one = {"input_tokens": 1, "output_tokens": 0, "total_tokens": 1}
    _, usage, _ = await ModelStrategy(Model(LLMResponse("x", usage=one))).execute("p", 1, 1.0)
    assert usage == one


async def test_hints_and_progress_reach_the_run() -> None:
    """Limits in a reply are observed, and a streaming model can mark progress."""
    guard = Guard()
    state = RetryState(_guard=guard)
    strategy = ModelStrategy(Managed(LLMResponse("x", hint=HINT)))
    await strategy.execute("p", 1, 1.0, state)
    await ModelStrategy(Model()).execute("p", 1, 1.0, state)
    await strategy.execute("p", 1, 1.0)
    assert (guard.marks, guard.hints) == (1, [HINT])


async def test_a_parser_that_fails_keeps_the_tokens() -> None:
    """An answer that cannot be parsed was paid for, and the error says how much."""

    def parse(response: LLMResponse) -> int:
        return int(response.text)

    with pytest.raises(ValueError, match="invalid literal") as caught:
        await ModelStrategy(Model(), parse).execute("p", 1, 1.0)
    failed: Any = caught.value
    assert failed._failed_token_usage["total_tokens"] == 3


async def test_an_error_without_attributes_is_wrapped() -> None:
    """Where an exception takes no attribute, one that does carries the tokens."""

    class Slotted(ValueError):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    def parse(response: LLMResponse) -> int:
        raise Slotted("bad")

    with pytest.raises(TokenTrackingError, match="Slotted: bad") as caught:
        await ModelStrategy(Model(), parse).execute("p", 1, 1.0)
    assert caught.value.token_usage is not None
    assert caught.value.token_usage["total_tokens"] == 3
    assert isinstance(caught.value.__cause__, Slotted)


async def test_a_frozen_error_is_wrapped() -> None:
    """An attrs exception that is frozen is such a one."""

    @frozen
    class FrozenError(Exception):
        text: str

    def parse(response: LLMResponse) -> int:
        raise FrozenError("bad")

    with pytest.raises(TokenTrackingError) as caught:
        await ModelStrategy(Model(), parse).execute("p", 1, 1.0)
    assert caught.value.token_usage is not None


async def test_a_managed_model_is_prepared_and_cleaned_up() -> None:
    """Lifecycle goes through to models that have one, sync or async, and past those without."""
    model = Managed()
    for strategy in (ModelStrategy(model), ModelStrategy(Model())):
        await strategy.prepare()
        await strategy.cleanup()
    assert model.calls == ["prepare", "cleanup"]


def test_errors_are_read_by_the_models_classifier() -> None:
    """A strategy says how its model's errors are read, unless told otherwise."""
    own, other = DefaultErrorClassifier(), DefaultErrorClassifier()
    model = Managed()
    assert ModelStrategy(model).error_classifier is None
    model.error_classifier = own
    assert ModelStrategy(model).error_classifier is own
    assert ModelStrategy(model, error_classifier=other).error_classifier is other
    chat = llm("sim:default")
    assert isinstance(chat.error_classifier, OpenAIErrorClassifier)


def test_scope_and_estimate_are_the_models() -> None:
    """A model that names a scope or an estimate is asked, others take the defaults."""
    managed, plain = ModelStrategy(Managed()), ModelStrategy(Model())
    assert managed.quota_scope == QuotaScope("mine", model="m")
    assert managed.estimate("abc") == CallCost(1, 3, 5)
    assert plain.quota_scope == QuotaScope()
    assert plain.estimate("abc") is None


def test_identities_name_model_and_settings() -> None:
    """All that changes an answer changes the identity."""
    one = ModelStrategy(Managed(), system="a").identity()
    assert one["model"] == {"name": "m"}
    assert one == ModelStrategy(Managed(), system="a").identity()
    assert one != ModelStrategy(Managed(), system="b").identity()
    assert one != ModelStrategy(Managed(), repr, system="a").identity()
    assert one != ModelStrategy(Managed(), system="a", config={"x": 1}).identity()
    assert ModelStrategy(Model()).identity()["model"] == {"class": "Model"}
    assert "Model object" in repr(ModelStrategy(Model()))


def test_what_is_no_model_is_refused() -> None:
    """A wrong model is told at once, with what to give."""
    wrong: Any = "gpt"
    with pytest.raises(StrategyError, match=r"the model is a str.*llm\("):
        ModelStrategy(wrong)


async def test_a_model_without_a_signature_is_called_plainly() -> None:
    """A generate() written in C, or a mock, is called without progress."""

    class Odd:
        __signature__ = "none"

        async def __call__(self, prompt: Any, **settings: Any) -> LLMResponse:
            assert "progress" not in settings
            return LLMResponse("odd")

    class Holder(Model):
        generate: Any = Odd()

    assert (await ModelStrategy(Holder()).execute("p", 1, 1.0, RetryState()))[0] == "odd"


def test_the_bound_that_is_sent_is_the_one_that_is_estimated() -> None:
    """It may stand in the parameters, in extra, or in the strategy's config."""
    made = llm("sim:default", max_tokens=100)
    assert output_of(made) == 100
    assert output_of(llm("sim:default")) is None
    assert output_of(llm("sim:default", max_tokens=100, extra={"max_tokens": 300})) == 300
    made.config = {"max_tokens": 200}
    assert output_of(made) == 200


def output_of(strategy: ModelStrategy[Any]) -> int | None:
    estimate = strategy.estimate("prompt")
    return None if estimate is None else estimate.output_tokens
