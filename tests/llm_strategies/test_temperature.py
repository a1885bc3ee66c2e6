"""Asking again at a higher temperature."""

from typing import Any

import pytest
from attrs import field, frozen

from batchllm.core import (
    ConfigError,
    LLMCallStrategy,
    LLMResponse,
    RetryState,
    StrategyError,
)
from batchllm.llm_strategies import ModelStrategy, ProgressiveTemperature
from tests.llm_strategies.world import run, scripted

pytestmark = pytest.mark.anyio


class Stubborn:
    """A model that is wrong until it is asked warmly enough; loses its first call."""

    def __init__(self, needs: float, *, lost: int = 0) -> None:
        self.needs, self.lost = needs, lost
        self.asked: list[float] = []
        self.prepared = self.cleaned = 0

    async def generate(
        self, prompt: Any, *, temperature: float = 0.0, **settings: Any
    ) -> LLMResponse:
        self.asked.append(temperature)
        if len(self.asked) <= self.lost:
            raise ConnectionError
        return LLMResponse("right" if temperature >= self.needs else "wrong")

    async def prepare(self) -> None:
        self.prepared += 1

    async def cleanup(self) -> None:
        self.cleaned += 1


def only_right(response: LLMResponse) -> str:
    if response.text != "right":
        raise ValueError(response.text)
    return response.text


async def test_each_bad_answer_raises_the_temperature() -> None:
    """The model is asked at 0, 0.5 and 1 in turn, and the item's answer is the last one."""
    model = Stubborn(needs=1.0)
    batch = await run(ProgressiveTemperature(ModelStrategy(model, only_right)))
    assert batch.outputs == ["right"]
    assert model.asked == [0.0, 0.5, 1.0]
    assert model.prepared == model.cleaned == 3


async def test_the_last_temperature_stays() -> None:
    """There are as many attempts as the run allows, not as there are temperatures."""
    model = Stubborn(needs=9.0)
    batch = await run(ProgressiveTemperature(ModelStrategy(model, only_right), [0.2, 0.7]))
    assert not batch.succeeded
    assert model.asked == [0.2, 0.7, 0.7, 0.7, 0.7]


async def test_a_lost_call_is_repeated_as_it_was() -> None:
    """A network error leaves the temperature alone."""
    model = Stubborn(needs=0.5, lost=2)
    batch = await run(ProgressiveTemperature(ModelStrategy(model, only_right)))
    assert batch.outputs == ["right"]
    assert model.asked == [0.0, 0.0, 0.0, 0.5]


@frozen
class Frozen(LLMCallStrategy[float]):
    """A user's own strategy, as an attrs class that cannot be changed."""

    temperature: float = 0.3
    asked: list[float] = field(factory=list)

    async def execute(self, prompt: str, attempt: int, timeout: float, *args: Any) -> Any:
        self.asked.append(self.temperature)
        raise ValueError


async def test_any_strategy_with_a_temperature_will_do() -> None:
    """A plain model and a frozen strategy work as well, and what was given is not changed."""
    model, own = Stubborn(needs=0.5), Frozen()
    assert (await run(ProgressiveTemperature(model))).outputs == ["wrong"]
    await run(ProgressiveTemperature(own, (0.1, 0.9)))
    assert own.asked == [0.1, 0.9, 0.9, 0.9, 0.9]
    assert own.temperature == 0.3
    assert (await ProgressiveTemperature(model).execute("p", 1, 9.0)).output == "wrong"
    assert (await ProgressiveTemperature(model).execute("p", 1, 9.0, RetryState())).output


@pytest.mark.parametrize("wrong", [(), (-0.1,), (float("nan"),), (True,), ("hot",)])
def test_temperatures_are_numbers(wrong: Any) -> None:
    """No temperature, or one that is none, is an error that says so."""
    with pytest.raises(ConfigError, match="temperatures"):
        ProgressiveTemperature(Stubborn(0.0), wrong)


def test_what_has_no_temperature_is_refused() -> None:
    """A strategy without the attribute is an error that names the remedy."""
    with pytest.raises(StrategyError, match=r"read self\.temperature"):
        ProgressiveTemperature(scripted("none"))


def test_temperatures_are_part_of_the_identity() -> None:
    """Other temperatures make another strategy for a journal."""
    assert ProgressiveTemperature(Frozen(), (0.1,)).identity()["temperatures"] == [0.1]
