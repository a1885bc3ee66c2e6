"""Distributions: what they draw, and how they are written."""

import random
import statistics

import pytest

from batchllm.simulator import Fixed, LogNormal, Uniform
from batchllm.simulator.distributions import Distribution, to_distribution


@pytest.mark.parametrize("spread", [Fixed(2.0), Uniform(1.0, 3.0), LogNormal(2.0, 0.5)])
def test_the_mean_is_what_draws_come_to(spread: Distribution) -> None:
    """Draws are at or above zero, and their average is the mean that is told."""
    rng = random.Random(7)
    draws = [spread.draw(rng) for _ in range(20_000)]
    assert min(draws) >= 0
    assert statistics.fmean(draws) == pytest.approx(spread.mean, rel=0.02)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0.05", Fixed(0.05)),
        (3, Fixed(3.0)),
        ("0.02..0.1", Uniform(0.02, 0.1)),
        (" 1.5~0.4 ", LogNormal(1.5, 0.4)),
        (Fixed(1.0), Fixed(1.0)),
    ],
)
def test_distributions_are_read_from_text(text: str | float, meant: Distribution) -> None:
    """A number, a range and a median with its spread are understood."""
    assert to_distribution(text) == meant


@pytest.mark.parametrize("text", ["", "fast", "1..", "-1", "1~2~3"])
def test_what_is_no_distribution_is_refused(text: str) -> None:
    """A text that is none of the three is refused with the three."""
    with pytest.raises(ValueError, match=r"a range \(0.02..0.1\)"):
        to_distribution(text)


def test_a_range_has_to_be_the_right_way_round() -> None:
    """An upper end below the lower one is refused."""
    with pytest.raises(ValueError, match="swap the two"):
        Uniform(2.0, 1.0)
