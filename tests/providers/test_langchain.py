"""Runnables of LangChain's shape, and real ones that need no network."""

from types import SimpleNamespace as Thing
from typing import Any

import pytest

from batchllm.core import EmptyResponseError, QuotaScope, StrategyError, TokenTrackingError
from batchllm.llm_strategies import LangChainStrategy

pytestmark = pytest.mark.anyio


class Runnable:
    """Gives one result."""

    def __init__(self, result: Any, **attributes: Any) -> None:
        self.result = result
        self.inputs: list[Any] = []
        self.settings: list[dict[str, Any]] = []
        vars(self).update(attributes)

    async def ainvoke(self, given: Any, **settings: Any) -> Any:
        self.inputs.append(given)
        self.settings.append(settings)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def message(content: Any, **more: Any) -> Thing:
    usage = {
        "input_tokens": 9,
        "output_tokens": 4,
        "total_tokens": 13,
        "input_token_details": {"cache_read": 5},
    }
    return Thing(content=content, usage_metadata=usage, **more)


async def test_a_message_is_its_text_with_its_tokens() -> None:
    """Text, counts and finish reason are read from the message."""
    told = {"finish_reason": "stop", "model_name": "gpt-x"}
    strategy = LangChainStrategy(Runnable(message("hello", response_metadata=told, id="m1")))
    text, usage, metadata = await strategy.execute("p", 1, 10.0)
    assert text == "hello"
    assert usage is not None
    assert (usage["input_tokens"], usage["cached_input_tokens"]) == (9, 5)
    assert metadata is not None
    assert metadata["finish_reason"] == "stop"
    assert metadata["model"] == "gpt-x"


async def test_content_in_blocks_is_joined() -> None:
    """Text blocks and bare texts are the text, others are not."""
    blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hello"}]
    assert (await LangChainStrategy(Runnable(message(blocks))).execute("p", 1, 10.0))[0] == "hello"


async def test_other_outputs_are_left_alone() -> None:
    """The output is the parser's."""
    made = {"answer": 42}
    assert await LangChainStrategy(Runnable(made)).execute("p", 1, 10.0) == (made, None, None)


async def test_an_empty_message_is_an_error() -> None:
    """A refusal says what the model said; an empty text says that."""
    with pytest.raises(EmptyResponseError, match="empty answer") as caught:
        await LangChainStrategy(Runnable(message(""))).execute("p", 1, 10.0)
    assert caught.value.usage is not None
    refused = message("", additional_kwargs={"refusal": "No."})
    with pytest.raises(EmptyResponseError, match="refused: No"):
        await LangChainStrategy(Runnable(refused)).execute("p", 1, 10.0)


async def test_calls_of_tools_are_an_answer() -> None:
    """They are in the metadata."""
    calls = [{"name": "look", "args": {}, "id": "1"}]
    _, _, metadata = await LangChainStrategy(Runnable(message("", tool_calls=calls))).execute(
        "p", 1, 10.0
    )
    assert metadata is not None
    assert metadata["tool_calls"] == calls


PARTS = [{"type": "text", "text": "hi"}]
CHAT = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("prompt", "given"),
    [("hi", "hi"), (CHAT, CHAT), (PARTS, [{"role": "user", "content": PARTS}])],
)
async def test_prompts_of_every_shape_go_in(prompt: Any, given: Any) -> None:
    """Texts and messages as they are, parts as a message."""
    runnable = Runnable("x")
    await LangChainStrategy(runnable).execute(prompt, 1, 10.0)
    assert runnable.inputs == [given]


async def test_a_function_makes_the_input() -> None:
    """Chains take mappings; configuration goes along."""
    runnable = Runnable("x")
    strategy = LangChainStrategy(
        runnable, to_input=lambda prompt: {"question": prompt}, config={"tags": ["t"]}
    )
    await strategy.execute("why?", 1, 10.0)
    assert runnable.inputs == [{"question": "why?"}]
    assert runnable.settings == [{"config": {"tags": ["t"]}}]


async def test_a_bridge_reaches_the_runnable() -> None:
    """It is called where asyncio runs."""
    strategy = LangChainStrategy(Runnable("x"), bridge=True)
    await strategy.prepare()
    assert (await strategy.execute("p", 1, 10.0))[0] == "x"
    await strategy.cleanup()
    assert repr(strategy) == "LangChainStrategy(Runnable)"


class Closed(ValueError):
    """Takes no attributes."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("__"):
            raise AttributeError(name)
        super().__setattr__(name, value)


@pytest.mark.parametrize("error", [ValueError("bad"), Closed("bad")])
async def test_tokens_of_a_chain_that_fails_later_are_counted(error: Exception) -> None:
    """The model was paid although the parser refused its answer."""
    pytest.importorskip("langchain_core")
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import RunnableLambda

    def refuse(_: Any) -> Any:
        raise error

    usage: Any = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
    answer = AIMessage("x", usage_metadata=usage, response_metadata={"model_name": "m"})
    chain = GenericFakeChatModel(messages=iter([answer])) | RunnableLambda(refuse)
    with pytest.raises((ValueError, TokenTrackingError)) as caught:
        await LangChainStrategy(chain).execute("p", 1, 10.0)
    failed: Any = caught.value
    assert failed._failed_token_usage["input_tokens"] == 9


def test_a_chat_model_has_a_scope_of_its_own() -> None:
    """A chain shares the run's."""
    model = Runnable("x", model_name="gpt-x", _llm_type="openai-chat")
    assert LangChainStrategy(model).quota_scope == QuotaScope("openai-chat", "", "", "gpt-x")
    assert LangChainStrategy(Runnable("x")).quota_scope == QuotaScope()


def test_what_is_no_runnable_is_refused() -> None:
    """The message names the package to install."""
    with pytest.raises(StrategyError, match=r"no ainvoke\(\).*batchllm\[langchain\]"):
        LangChainStrategy("gpt-x")
