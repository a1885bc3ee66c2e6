"""Durations and sizes as seeded draws that never go below zero."""

import math
import random
import re

from attrs import field, frozen, validators


@frozen
class Fixed:
    """One value every time."""

    value: float = field(validator=validators.ge(0))

    def draw(self, rng: random.Random) -> float:
        """The value."""
        return self.value

    @property
    def mean(self) -> float:
        """The value."""
        return self.value


@frozen
class Uniform:
    """Any value from `low` to `high`, all alike."""

    low: float = field(validator=validators.ge(0))
    high: float = field()

    def __attrs_post_init__(self) -> None:
        if self.high < self.low:
            msg = f"Uniform.high is {self.high}, below low = {self.low}; swap the two"
            raise ValueError(msg)

    def draw(self, rng: random.Random) -> float:
        """A value from `low` to `high`."""
        return rng.uniform(self.low, self.high)

    @property
    def mean(self) -> float:
        """The middle of the range."""
        return (self.low + self.high) / 2


@frozen
class LogNormal:
    """Many values near `median` and a long tail; `spread` is the sigma of the logarithm."""

    median: float = field(validator=validators.gt(0))
    spread: float = field(default=0.5, validator=validators.ge(0))

    def draw(self, rng: random.Random) -> float:
        """A value above zero, half of them below the median."""
        return self.median * math.exp(rng.gauss(0.0, self.spread))

    @property
    def mean(self) -> float:
        """The mean, which the tail lifts above the median."""
        return self.median * math.exp(self.spread**2 / 2)


Distribution = Fixed | Uniform | LogNormal

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_RANGE = re.compile(rf"{_NUMBER}\.\.{_NUMBER}")
_SPREAD = re.compile(rf"{_NUMBER}~{_NUMBER}")


def to_distribution(value: "Distribution | float | str") -> Distribution:
    """Read a distribution: `0.05` is fixed, `0.02..0.1` uniform, `1.5~0.4` log-normal.

    Raises:
        ValueError: the text has none of the three forms.
    """
    if isinstance(value, Fixed | Uniform | LogNormal):
        return value
    if isinstance(value, int | float):
        return Fixed(float(value))
    text = value.strip()
    if match := _RANGE.fullmatch(text):
        return Uniform(float(match[1]), float(match[2]))
    if match := _SPREAD.fullmatch(text):
        return LogNormal(float(match[1]), float(match[2]))
    if re.fullmatch(_NUMBER, text):
        return Fixed(float(text))
    msg = (
        f"{value!r} is no distribution; write a number (0.05), a range (0.02..0.1) "
        "or a median and spread (1.5~0.4)"
    )
    raise ValueError(msg)
