"""The signatures, defaults and examples of the reference of strategies and models."""

import inspect
import logging
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from batchllm import (
    GeminiCachedModel,
    GeminiModel,
    GeminiStrategy,
    LLMCallStrategy,
    LLMModel,
    LLMResponse,
    ManagedLLMModel,
    RetryState,
    TokenTrackingError,
    TokenUsage,
)
from tests.seeds.harness import (
    REFERENCE,
    Genai,
    needs,
    process,
    sample,
    validation_error,
)

pytestmark = pytest.mark.anyio

CONTEXT = [{"role": "user", "parts": [{"text": "All that is known of the matter. " * 40}]}]


class Plain(LLMCallStrategy[str]):
    """A strategy by the reference's own signature."""

    def __init__(self) -> None:
        self.states: list[Any] = []

    async def execute(
        self, prompt: str, attempt: int, timeout: float, state: "RetryState | None" = None
    ) -> tuple[str, TokenUsage]:
        self.states.append(state)
        if attempt == 1:
            raise ValueError("first")
        return f"{prompt} {attempt} {timeout > 0}", {"input_tokens": 1}


@sample(1, "LLMCallStrategy: prepare, cleanup", of=REFERENCE)
async def test_prepare_and_cleanup_do_nothing_by_default() -> None:
    """Both are there to be called, by whoever wraps a strategy."""
    strategy = Plain()
    assert await strategy.prepare() is None
    assert await strategy.cleanup() is None


@sample(3, "LLMCallStrategy: execute", of=REFERENCE)
async def test_execute_is_abstract_and_gets_the_state() -> None:
    """A class without `execute` is no strategy; the state is the same in every attempt."""
    with pytest.raises(TypeError, match="abstract"):
        LLMCallStrategy()
    strategy = Plain()
    result = await process(strategy, "p")
    assert result.results[0].output == "p 2 True"
    first, second = strategy.states
    assert first is second
    assert isinstance(first, RetryState)


@sample(2, "LLMCallStrategy: dry_run", of=REFERENCE)
async def test_dry_run() -> None:
    """The first fifty letters of the prompt, and 100, 50, 150 tokens."""
    prompt = "x" * 60
    mock_output, mock_tokens = await Plain().dry_run(prompt)
    assert mock_output == f"[DRY-RUN] Mock output for prompt: {prompt[:50]}..."
    assert mock_tokens == {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}


@needs("pydantic")
@sample(4, "LLMCallStrategy: on_error, example without state", of=REFERENCE)
async def test_on_error_without_state() -> None:
    """The last error and what it was are the strategy's own to keep."""
    from pydantic import ValidationError

    class Keeping(Plain):
        async def execute(self, prompt: str, attempt: int, timeout: float) -> Any:
            if attempt == 1:
                raise validation_error()
            return prompt, None

        async def on_error(self, exception: Exception, attempt: int) -> None:
            self.last_error = exception

            if isinstance(exception, ValidationError):
                self.should_escalate_model = True

    strategy = Keeping()
    result = await process(strategy, "p")
    assert result.succeeded == 1
    assert isinstance(strategy.last_error, ValidationError)
    assert strategy.should_escalate_model is True


@needs("pydantic")
@sample(5, "LLMCallStrategy: on_error, example with state", of=REFERENCE)
async def test_on_error_with_state() -> None:
    """Counts and partial data are kept per item."""
    from pydantic import ValidationError

    seen: dict[str, Any] = {}

    class Counting(Plain):
        async def execute(
            self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
        ) -> Any:
            if attempt < 3:
                error = validation_error()
                error.partial_data = {"of": prompt, "attempt": attempt}
                raise error
            seen[prompt] = state.get("validation_failures"), state.get("partial_data")
            return prompt, None

        async def on_error(
            self, exception: Exception, attempt: int, state: RetryState | None = None
        ) -> None:
            if state:
                if isinstance(exception, ValidationError):
                    count = state.get("validation_failures", 0) + 1
                    state.set("validation_failures", count)
                    if hasattr(exception, "partial_data"):
                        state.set("partial_data", exception.partial_data)

    result = await process(Counting(), "p", "q")
    assert result.succeeded == 2
    assert seen == {
        "p": (2, {"of": "p", "attempt": 2}),
        "q": (2, {"of": "q", "attempt": 2}),
    }


class Model:
    """A model with the protocol's signature and a lifecycle."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.told: list[Any] = []

    async def prepare(self) -> None:
        self.told.append("prepare")

    async def cleanup(self) -> None:
        self.told.append("cleanup")

    async def generate(
        self,
        prompt: str | list[Any],
        *,
        temperature: float = 0.0,
        system_instruction: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> LLMResponse:
        await anyio.lowlevel.checkpoint()
        calls = sum(isinstance(entry, tuple) for entry in self.told)
        self.told.append((prompt, temperature, system_instruction, config))
        return LLMResponse(
            text=self.texts[min(calls, len(self.texts) - 1)],
            input_tokens=10,
            output_tokens=5,
            total_tokens=15,
            cached_input_tokens=4,
        )


@sample(8, "GeminiStrategy: examples", "`genai.Client`", of=REFERENCE)
async def test_gemini_strategy() -> None:
    """A model or a cached model, and a parser."""
    genai = Genai()
    client = genai.Client(api_key="...")

    model = GeminiModel("gemini-2.5-flash", client)
    strategy = GeminiStrategy(model, response_parser=lambda r: r.text)
    assert (await process(strategy, "[[answer:said]]")).outputs == ["said"]

    cached_model = GeminiCachedModel("gemini-2.5-flash", client, cached_content=CONTEXT)
    strategy = GeminiStrategy(cached_model, response_parser=lambda r: r.text)
    result = await process(strategy, "[[answer:said]]")
    assert result.outputs == ["said"]
    assert result.total_cached_tokens > 300


@sample(9, "GeminiStrategy: parameters and lifecycle", "an `LLMModel`", of=REFERENCE)
async def test_gemini_strategy_lifecycle() -> None:
    """Any model will do; its lifecycle is the strategy's, and so is its temperature."""
    model = Model("an answer")
    strategy = GeminiStrategy(model, lambda r: r.text.upper(), temperature=0.5)
    assert (strategy.model, strategy.temperature) == (model, 0.5)
    result = await process(strategy, "p")
    assert model.told == ["prepare", ("p", 0.5, None, None), "cleanup"]
    assert result.outputs == ["AN ANSWER"]
    assert result.results[0].token_usage["cached_input_tokens"] == 4
    assert inspect.signature(GeminiStrategy).parameters["temperature"].default == 0.0


@sample(10, "GeminiStrategy: execute", "an `LLMModel`", of=REFERENCE)
async def test_tokens_of_answers_that_cannot_be_parsed() -> None:
    """They were paid for, whatever kind of exception the parser raises."""

    def parser(response: LLMResponse) -> int:
        return int(response.text)

    result = await process(GeminiStrategy(Model("no number", "12"), parser), "p")
    assert result.outputs == [12]
    assert result.results[0].attempts == 2
    assert (result.total_input_tokens, result.total_output_tokens) == (20, 10)

    class Closed(Exception):
        __slots__ = ()

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    def closed(response: LLMResponse) -> int:
        raise Closed("nothing can be attached to me")

    result = await process(GeminiStrategy(Model("x"), closed), "p", attempts=1)
    (failed,) = result.results
    assert isinstance(failed.exception, TokenTrackingError)
    assert isinstance(failed.exception.__cause__, Closed)
    assert failed.token_usage["total_tokens"] == 15


@sample(11, "GeminiModel: example", "`genai.Client`", of=REFERENCE)
async def test_gemini_model() -> None:
    """Text and tokens of one call."""
    genai = Genai()
    client = genai.Client(api_key="...")
    model = GeminiModel("gemini-2.5-flash", client)
    response = await model.generate("Hello! [[answer:Hello to you!]]")
    assert response.text == "Hello to you!"
    assert response.input_tokens == genai.calls[0].input_tokens > 0
    assert response.total_tokens == response.input_tokens + response.output_tokens
    await client.release()


class RecordingClient:
    """Google's client as far as a model uses it; remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []
        self.aio = self
        self.models = self

    async def generate_content(self, **given: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        self.given.append(given)
        return {"candidates": [{"content": {"parts": [{"text": "ok"}]}, "finishReason": "STOP"}]}


@sample(12, "GeminiModel: generate", "`genai.Client`, its `aio.models`", of=REFERENCE)
async def test_gemini_model_generate() -> None:
    """Settings of the model, overridden for one call; what is blocked is a `ValueError`."""
    client = RecordingClient()
    safety_settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    model = GeminiModel(
        "gemini-2.5-flash", client, safety_settings=safety_settings, system_instruction="be kind"
    )
    await model.generate("p")
    await model.generate(
        "q",
        temperature=0.7,
        system_instruction="be brief",
        config={"response_mime_type": "application/json"},
    )
    first, second = client.given
    assert first["model"] == "gemini-2.5-flash"
    assert first["contents"] == "p"
    assert first["config"] == {
        "temperature": 0.0,
        "system_instruction": "be kind",
        "safety_settings": safety_settings,
    }
    assert second["config"] == {
        "temperature": 0.7,
        "system_instruction": "be brief",
        "safety_settings": safety_settings,
        "response_mime_type": "application/json",
    }

    blocked = GeminiModel("gemini-2.5-flash", Genai().Client(api_key="..."))
    with pytest.raises(ValueError, match="SAFETY") as caught:
        await blocked.generate("[[fault:content-filter]]")
    assert caught.value.response.metadata["safety_ratings"]["HARM_CATEGORY_HARASSMENT"] == "HIGH"
    await blocked.client.release()


@sample(13, "GeminiCachedModel: example", "`genai.Client`, contents", of=REFERENCE)
async def test_gemini_cached_model() -> None:
    """Found or made by `prepare`, kept by `cleanup`, gone by `delete_cache`."""
    genai = Genai()
    client = genai.Client(api_key="...")
    system_instruction = {"role": "user", "parts": [{"text": "Be kind."}]}

    model = GeminiCachedModel(
        "gemini-2.5-flash",
        client,
        cached_content=[system_instruction, *CONTEXT],
    )
    assert model.cache_name is None
    await model.prepare()
    assert model.cache_name
    response = await model.generate("Process this [[answer:done]]")
    await model.cleanup()

    assert response.text == "done"
    assert response.cached_input_tokens > 300
    assert genai.caches["alive"] == 1, "kept for reuse"

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(model.delete_cache)
    assert (genai.caches["deleted"], model.cache_name) == (1, None)
    await client.release()


@sample(14, "GeminiCachedModel: parameters", "`genai.Client`", of=REFERENCE)
def test_gemini_cached_model_parameters() -> None:
    """Defaults, the buffer that is too long, and both warnings."""
    client = Genai().Client(api_key="...")
    parameters = inspect.signature(GeminiCachedModel).parameters
    defaults = {
        "cache_ttl_seconds": 3600,
        "cache_renewal_buffer_seconds": 300,
        "auto_renew": True,
        "cache_tags": None,
        "safety_settings": None,
    }
    assert {name: parameters[name].default for name in defaults} == defaults

    def make(ttl: int, buffer: int) -> GeminiCachedModel:
        return GeminiCachedModel(
            "gemini-2.5-flash",
            client,
            CONTEXT,
            cache_ttl_seconds=ttl,
            cache_renewal_buffer_seconds=buffer,
        )

    with pytest.raises(ValueError, match="cache_renewal_buffer_seconds is 300"):
        make(300, 300)
    with pytest.warns(UserWarning, match="cache_") as caught:
        make(30, 10)
    assert [str(warning.message).split()[0] for warning in caught] == [
        "cache_ttl_seconds",
        "cache_renewal_buffer_seconds",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(300, 60)


@sample(16, "GeminiCachedModel: generate", "`genai.Client`", of=REFERENCE)
async def test_gemini_cached_model_generate() -> None:
    """No instruction per call; no cache without `prepare` where nothing may renew it."""
    client = Genai().Client(api_key="...")
    model = GeminiCachedModel("gemini-2.5-flash", client, CONTEXT, auto_renew=False)
    with pytest.raises(RuntimeError, match=r"call prepare\(\) first"):
        await model.generate("p")
    with pytest.raises(ValueError, match="system_instruction cannot be"):
        await model.generate("p", system_instruction="be brief")
    await model.prepare()
    await model.prepare()
    assert (await model.generate("[[answer:ok]]")).text == "ok"
    await model.cleanup()
    await model.cleanup()


@sample(15, "GeminiCachedModel: cleanup, delete_cache", "`genai.Client`", of=REFERENCE)
async def test_a_cache_that_cannot_be_deleted(caplog: pytest.LogCaptureFixture) -> None:
    """Keeping the cache is told at INFO; deleting one that is gone already is no error."""
    client = Genai().Client(api_key="...")
    model = GeminiCachedModel("gemini-2.5-flash", client, CONTEXT)
    await model.prepare()
    with caplog.at_level(logging.INFO, "batchllm"):
        await model.cleanup()
    assert any(str(model.cache_name) in message for message in caplog.messages)
    caplog.clear()
    await client.aio.caches.delete(name=model.cache_name)
    await model.delete_cache()
    assert model.cache_name is None
    await client.release()


@sample(18, "Protocols: LLMModel, ManagedLLMModel", of=REFERENCE)
def test_protocols() -> None:
    """Checked by shape: `generate` alone, or with a lifecycle."""

    class Bare:
        generate: Callable[..., Any] = Model.generate

    assert isinstance(Bare(), LLMModel)
    assert not isinstance(Bare(), ManagedLLMModel)
    assert isinstance(Model(), ManagedLLMModel)
    client = Genai().Client(api_key="...")
    assert isinstance(GeminiModel("m", client), LLMModel)
    assert isinstance(GeminiCachedModel("m", client, CONTEXT), ManagedLLMModel)


@sample(19, "LLMResponse", of=REFERENCE)
def test_llm_response() -> None:
    """Its fields by position, its defaults, and its tokens as a mapping."""
    response = LLMResponse("text", 10, 5, 15)
    assert (response.cached_input_tokens, response.metadata, response.raw) == (0, None, None)
    response = LLMResponse(
        text="text",
        input_tokens=10,
        output_tokens=5,
        total_tokens=15,
        cached_input_tokens=4,
        metadata={"finish_reason": "STOP"},
        raw=object(),
    )
    assert response.token_usage == {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "cached_input_tokens": 4,
    }


@sample(17, "LLMModel: generate", "a model with two parameters", of=REFERENCE)
async def test_a_model_gets_only_what_it_has_to_know() -> None:
    """A strategy asks with prompt and temperature, as the reference shows; nothing else."""

    class Small:
        async def generate(self, prompt: str, *, temperature: float) -> LLMResponse:
            return LLMResponse(f"{prompt} at {temperature}", 1, 1, 2)

    result = await process(GeminiStrategy(Small(), response_parser=lambda r: r.text), "p")
    assert result.outputs == ["p at 0.0"]
