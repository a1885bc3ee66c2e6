"""Ask again at a higher temperature when an answer was not valid."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any, Generic, cast

from attrs import Attribute, define, evolve, field
from attrs.exceptions import FrozenInstanceError
from typing_extensions import TypeVar

from batchllm.core import ConfigError, LLMCallStrategy, StrategyError, explain_arguments
from batchllm.llm_strategies.accept import StrategyLike, as_strategy
from batchllm.llm_strategies.composite import Ladder

__all__ = ["ProgressiveTemperature"]

T = TypeVar("T", default=Any)


def _are_temperatures(instance: Any, attribute: Attribute[Any], given: tuple[Any, ...]) -> None:
    if not given:
        msg = "temperatures is empty; give at least one, such as (0.0, 0.5, 1.0)"
        raise ConfigError(msg)
    for value in given:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value < math.inf:
            msg = f"temperatures holds {value!r}; give numbers of at least 0"
            raise ConfigError(msg)


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class ProgressiveTemperature(Ladder[T], Generic[T]):
    """Asks at the first temperature; each answer that is not valid moves its item to the next.

    A model that is sure of a wrong answer repeats it at temperature 0. Network errors, rate
    limits and timeouts leave the temperature as it is, and the last one stays.

    Example::

        ProgressiveTemperature("openai:gpt-4.1-mini", temperatures=(0.0, 0.5, 1.0))

    Args:
        inner: A model, or a strategy with an attribute ``temperature``. It is copied once per
            temperature, and each copy is prepared and cleaned up.
        temperatures: In the order in which they are tried.

    Raises:
        StrategyError: *inner* has no temperature.
        ConfigError: *temperatures* is empty, or one of them is negative or no number.
    """

    temperatures: tuple[float, ...] = field(init=False, validator=_are_temperatures)

    def __init__(
        self, inner: StrategyLike[T], temperatures: Iterable[float] = (0.0, 0.5, 1.0)
    ) -> None:
        self.temperatures = tuple(temperatures)
        strategy = as_strategy(inner)
        self.parts = tuple(_at(strategy, temperature) for temperature in self.temperatures)

    def identity(self) -> Mapping[str, Any]:
        """Name the strategy with the temperatures."""
        return {**super().identity(), "temperatures": list(self.temperatures)}


def _at(strategy: LLMCallStrategy[Any], temperature: float) -> LLMCallStrategy[Any]:
    if not hasattr(strategy, "temperature"):
        name = type(strategy).__name__
        msg = (
            f"{name} has no attribute temperature, so it cannot be asked at several; give a model, "
            f"or read self.temperature in {name}.execute"
        )
        raise StrategyError(msg)
    twin: Any = copy.copy(strategy)
    try:
        twin.temperature = temperature
    except FrozenInstanceError:
        return cast("LLMCallStrategy[Any]", evolve(twin, temperature=temperature))
    return cast("LLMCallStrategy[Any]", twin)
