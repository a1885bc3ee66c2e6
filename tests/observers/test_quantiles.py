"""Quantiles in memory that does not grow."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.observers import Quantiles

durations = st.lists(
    st.floats(min_value=1e-5, max_value=1e5, allow_nan=False), min_size=1, max_size=200
)


@given(durations, st.floats(min_value=0.01, max_value=1.0))
def test_a_quantile_is_right_to_two_per_cent(values: list[float], share: float) -> None:
    """With any values the quantile lies within 2 % of the value of that rank."""
    seen = Quantiles()
    for value in values:
        seen.add(value)
    rank = max(1, -int(-share * len(values) // 1))
    true = sorted(values)[rank - 1]
    assert seen.at(share) == pytest.approx(true, rel=0.0201)
    assert seen.mean == pytest.approx(sum(values) / len(values))


def test_nothing_is_nothing() -> None:
    """Without a value all is 0; a value of 0, or one below, counts as 0."""
    seen = Quantiles()
    assert (seen.at(0.5), seen.mean, seen.most) == (0.0, 0.0, 0.0)
    seen.add(0.0)
    seen.add(-1.0)
    assert (seen.at(0.99), seen.total, seen.count) == (0.0, 0.0, 2)


def test_memory_is_bounded() -> None:
    """A hundred thousand values of every size, absurd ones too, need under 800 numbers."""
    seen, rng = Quantiles(), random.Random(3)
    for _ in range(100_000):
        seen.add(10 ** rng.uniform(-9, 12))
    assert len(seen._bins) < 800
    assert seen.at(1.0) <= seen.most
