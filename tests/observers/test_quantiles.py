"""Quantiles in memory that does not grow."""

import random
from itertools import pairwise

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


@given(st.lists(st.floats(0, 1e5), max_size=100), st.integers(2, 40))
def test_grouped_values_are_all_there(values: list[float], most: int) -> None:
    """In so many bins at most, one beside the other, each with what lies within."""
    quantiles = Quantiles()
    for value in values:
        quantiles.add(value)
    bins = quantiles.grouped(most)
    assert len(bins) <= most
    assert sum(count for *_, count in bins) == len(values)
    edges = [(low, high) for low, high, _ in bins if high > 0]
    assert all(before[1] == pytest.approx(after[0]) for before, after in pairwise(edges))
    for low, high, count in bins:
        if high > 0:
            inside = sum(low * 0.999 < value <= high * 1.001 for value in values)
            assert inside >= count
