"""Agents of PydanticAI's shape, old and new, without that package."""

from types import SimpleNamespace as Thing
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import (
    ProcessorConfig,
    QuotaScope,
    RetryConfig,
    StrategyError,
    TokenTrackingError,
)
from batchllm.llm_strategies import PydanticAIStrategy
from batchllm.testing import MockAgent

pytestmark = pytest.mark.anyio

BaseModel: Any = pytest.importorskip("pydantic").BaseModel

QUICK = ProcessorConfig(retry=RetryConfig(initial_wait=0.1, jitter=False))


class Summary(BaseModel):
    """The result of an agent."""

    title: str
    points: list[str]


class Agent:
    """Gives one result after the other."""

    def __init__(self, *results: Any, **attributes: Any) -> None:
        self.results = list(results)
        self.runs: list[tuple[Any, dict[str, Any]]] = []
        vars(self).update(attributes)

    async def run(self, prompt: Any, **settings: Any) -> Any:
        self.runs.append((prompt, settings))
        return self.results.pop(0)


class CallableCounts(Thing):
    """Counts that old code may call, to a complaint."""

    def __call__(self) -> Any:
        raise DeprecationWarning("usage is a property")


NEW = Thing(input_tokens=7, output_tokens=3, cache_read_tokens=2)
OLD = Thing(request_tokens=7, response_tokens=3, total_tokens=10)


async def test_a_mock_agent_runs_as_it_is() -> None:
    """Outputs and tokens arrive, and a rate limit is waited for, on both event loops."""
    agent = MockAgent(lambda prompt: prompt.upper(), latency=0.01, rate_limit_on_call=2)
    result = await run_batch(["a", "b", "c"], PydanticAIStrategy(agent=agent), config=QUICK)
    assert result.outputs == ["A", "B", "C"]
    assert (result.total_input_tokens, result.total_output_tokens) == (300, 150)
    assert agent.call_count == 4


@pytest.mark.parametrize(
    "result",
    [
        Thing(output="x", usage=lambda: NEW),
        Thing(output="x", usage=NEW),
        Thing(output="x", usage=CallableCounts(**vars(NEW))),
        Thing(data="x", usage=lambda: OLD),
    ],
    ids=["method", "property", "both", "old"],
)
async def test_results_of_every_version_are_read(result: Any) -> None:
    """Old and new names of output and usage mean the same."""
    output, usage = await PydanticAIStrategy(Agent(result)).execute("p", 1, 10.0)
    assert output == "x"
    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (7, 3, 10)


async def test_a_result_without_usage_is_unknown() -> None:
    """Unknown is not zero."""
    assert await PydanticAIStrategy(Agent(Thing(output="x"))).execute("p", 1, 10.0) == ("x", None)
    nothing = Thing(output="x", usage=lambda: None)
    assert await PydanticAIStrategy(Agent(nothing)).execute("p", 1, 10.0) == ("x", None)


class Refused:
    """Its output is refused on being read; its tokens are paid for."""

    usage = NEW

    def __init__(self, error: Exception) -> None:
        self.error = error

    @property
    def output(self) -> Any:
        raise self.error


class Closed(ValueError):
    """Takes no attributes."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


async def test_an_output_that_is_refused_is_paid_for() -> None:
    """The error carries the tokens, and the batch counts them."""
    agent = Agent(Refused(ValueError("bad")), Thing(output="good", usage=NEW))
    result = await run_batch(["p"], PydanticAIStrategy(agent), config=QUICK)
    assert result.outputs == ["good"]
    assert result.total_input_tokens == 14


async def test_an_error_that_can_carry_nothing_is_wrapped() -> None:
    """The tokens come with a TokenTrackingError, and the error is its cause."""
    error = Closed("bad")
    with pytest.raises(TokenTrackingError, match="Closed: bad") as caught:
        await PydanticAIStrategy(Agent(Refused(error))).execute("p", 1, 10.0)
    assert caught.value.__cause__ is error
    assert caught.value.token_usage is not None
    assert caught.value.token_usage["input_tokens"] == 7


async def test_more_arguments_go_to_each_run() -> None:
    """Dependencies of an agent are passed through."""
    agent = Agent(Thing(output="x"))
    await PydanticAIStrategy(agent, deps="d", bridge=False).execute("p", 1, 10.0)
    assert agent.runs == [("p", {"deps": "d"})]


@pytest.mark.parametrize("name", ["output_type", "result_type"])
async def test_a_dry_run_builds_the_model_unchecked(name: str) -> None:
    """A Pydantic model without its fields stands in; words count as tokens."""
    agent = Agent(**{name: Summary})
    result = await run_batch(
        ["four words of prompt"],
        PydanticAIStrategy(agent),
        config=ProcessorConfig(dry_run=True),
    )
    assert isinstance(result.outputs[0], Summary)
    assert not result.outputs[0].model_fields_set
    assert (result.total_input_tokens, result.total_output_tokens) == (4, 50)
    assert not agent.runs


async def test_a_dry_run_of_text_is_the_usual_one() -> None:
    """Other outputs have the stand-in of every strategy."""
    strategy: PydanticAIStrategy[str] = PydanticAIStrategy(MockAgent())
    output, usage = await strategy.dry_run("p")
    assert output.startswith("[DRY-RUN]")
    assert usage["total_tokens"] == 150


def test_an_agent_that_tells_its_model_has_a_scope_of_its_own() -> None:
    """Two agents of two providers do not wait for each other."""
    client = Thing(base_url="https://api.openai.com/v1/", api_key="k")
    agent = Agent(model=Thing(model_name="gpt-x", system="openai", client=client))
    scope = PydanticAIStrategy(agent).quota_scope
    assert scope is not None
    assert (scope.provider, scope.model) == ("openai", "gpt-x")
    assert PydanticAIStrategy(Agent(model="openai:gpt-x")).quota_scope == QuotaScope()


def test_what_is_no_agent_is_refused() -> None:
    """The message names the package to install."""
    agent: Any = "openai:gpt-x"
    with pytest.raises(StrategyError, match=r"a str, which has no run\(\).*batchllm\[pydantic-ai"):
        PydanticAIStrategy(agent)


async def test_a_bridge_is_let_go_after_the_run(anyio_backend_name: str) -> None:
    """An agent that needs asyncio finds it, and nothing is left behind."""
    import sniffio

    class AsyncioOnly(Agent):
        async def run(self, prompt: Any, **settings: Any) -> Any:
            await anyio.lowlevel.checkpoint()
            return Thing(output=sniffio.current_async_library())

    strategy = PydanticAIStrategy(AsyncioOnly(), bridge=True)
    await strategy.prepare()
    assert await strategy.execute("p", 1, 10.0) == ("asyncio", None)
    await strategy.cleanup()
    assert repr(strategy) == "PydanticAIStrategy(AsyncioOnly)"
