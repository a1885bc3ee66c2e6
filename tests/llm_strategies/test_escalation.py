"""Going on to a stronger model, on bad answers only."""

import random
from typing import Any

import pytest
from attrs import define

from batchllm.core import (
    Category,
    ErrorClassifier,
    ErrorInfo,
    LLMCallStrategy,
    QuotaScope,
    RetryState,
    StrategyError,
)
from batchllm.llm_strategies import ModelEscalation
from batchllm.testing import Raise
from tests.llm_strategies.world import TIRELESS, refused, run, says, scripted

pytestmark = pytest.mark.anyio


async def test_a_bad_answer_moves_its_item_on() -> None:
    """Each answer that is not valid goes to the next model, and the last one keeps the item."""
    cheap = scripted("cheap", Raise(ValueError))
    strong = scripted("strong", Raise(ValueError), Raise(ValueError), says("right"))
    batch = await run(ModelEscalation([cheap, strong]))
    assert batch.outputs == ["right"]
    assert (len(cheap.calls), len(strong.calls)) == (1, 3)


@pytest.mark.parametrize(
    "trouble",
    [Raise(ConnectionError), Raise(TimeoutError), refused(500), refused(429)],
    ids=["network", "timeout", "server", "rate limit"],
)
async def test_what_says_nothing_about_the_model_stays_with_it(trouble: Raise) -> None:
    """Network errors, timeouts, server errors and rate limits do not escalate."""
    cheap = scripted("cheap", trouble, trouble, says("right"))
    strong = scripted("strong")
    batch = await run(ModelEscalation([cheap, strong]))
    assert batch.outputs == ["right"]
    assert not strong.calls


@define(eq=False)
class Shaky(LLMCallStrategy[str]):
    """Fails as drawn: invalid, network or fine; keeps what it drew by prompt."""

    quota_scope = QuotaScope("shaky")
    drawn: dict[str, list[str]]
    rng: random.Random

    async def execute(self, prompt: str, attempt: int, timeout: float, *args: Any) -> Any:
        end = self.rng.choices(["invalid", "network", "fine"], [0.2, 0.2, 0.6])[0]
        self.drawn.setdefault(prompt, []).append(end)
        if end == "fine":
            return "cheap answer", None
        raise ValueError("invalid") if end == "invalid" else ConnectionError("network")


async def test_one_instance_keeps_items_apart() -> None:
    """With a fifth of answers invalid and a fifth of calls lost, the strong model is used for
    exactly those items whose answer was invalid, at 50 calls at once."""
    cheap, strong = Shaky({}, random.Random(7)), scripted("strong", says("strong answer"))
    prompts = [f"p{n}" for n in range(400)]
    batch = await run(ModelEscalation([cheap, strong]), *prompts, concurrency=50, config=TIRELESS)
    invalid = {prompt for prompt, ends in cheap.drawn.items() if "invalid" in ends}
    lost = {prompt for prompt, ends in cheap.drawn.items() if "network" in ends}
    assert 50 < len(invalid) < 150
    assert len(lost - invalid) > 50
    assert sorted(strong.prompts) == sorted(invalid)
    assert batch.succeeded == 400


class OddIsBad(ErrorClassifier):
    def classify(self, exception: Exception) -> ErrorInfo | None:
        bad = isinstance(exception, ZeroDivisionError)
        return ErrorInfo(True, False, False, Category.BAD_OUTPUT) if bad else None


async def test_the_runs_classifier_decides_what_a_bad_answer_is() -> None:
    """A classifier that is given to the run is asked by the composite, too."""
    cheap, strong = scripted("cheap", Raise(ZeroDivisionError)), scripted("strong", says("right"))
    batch = await run(ModelEscalation([cheap, strong]), error_classifier=OddIsBad())
    assert batch.outputs == ["right"]


async def test_without_a_run_it_calls_directly() -> None:
    """With a state made by hand it escalates by the default meaning of errors; without, too."""
    cheap, strong = scripted("cheap", Raise(ValueError)), scripted("strong", says("right"))
    strategy, state = ModelEscalation([cheap, strong]), RetryState()
    with pytest.raises(ValueError, match=r"^$"):
        await strategy.execute("p", 1, 9.0, state)
    assert (await strategy.execute("p", 2, 9.0, state)).output == "right"
    with pytest.raises(ValueError, match=r"^$"):
        await strategy.execute("p", 1, 9.0)


@pytest.mark.parametrize("wrong", [[], "openai:gpt-5", 7])
def test_it_wants_a_list(wrong: Any) -> None:
    """An empty list, or something else than a list, is an error that says so."""
    with pytest.raises(StrategyError, match="ModelEscalation"):
        ModelEscalation(wrong)
