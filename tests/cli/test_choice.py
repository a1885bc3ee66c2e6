"""Choices of lines: shards, samples, the first so many."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.cli.choice import Choice, Chooser, Shard
from batchllm.cli.exits import UsageError


def taken(count: int, known: bool = True, **given: Any) -> list[int]:
    chooser = Chooser(Choice(**given), count if known else None)
    return [number for number in range(count) if chooser.takes(f"id-{number}")]


@given(st.integers(0, 60), st.integers(1, 7))
def test_shards_are_the_whole_and_do_not_overlap(count: int, parts: int) -> None:
    """Each line belongs to one of them."""
    shards = [taken(count, shard=Shard(number, parts)) for number in range(1, parts + 1)]
    assert sorted(number for shard in shards for number in shard) == list(range(count))


def test_a_line_stays_in_its_shard_when_others_come() -> None:
    """It goes by the id, not by the place."""
    shard = Shard(1, 3)
    assert [shard.has(n) for n in ("a", "b", 7, "7")] == [shard.has(n) for n in ("a", "b", 7, 7)]
    assert taken(50, shard=shard) == [n for n in range(50) if shard.has(f"id-{n}")]


@given(st.integers(0, 60), st.integers(0, 70), st.integers(0, 5))
def test_a_sample_has_its_size_and_is_the_same_each_time(count: int, size: int, seed: int) -> None:
    """In the order of the input."""
    first = taken(count, sample=size, seed=seed)
    assert len(first) == min(size, count)
    assert first == sorted(set(first)) == taken(count, sample=size, seed=seed)


def test_another_seed_is_another_sample() -> None:
    """Or else it would be no sample."""
    assert taken(1000, sample=10) != taken(1000, sample=10, seed=1)


def test_the_limit_comes_last() -> None:
    """It bounds what shard and sample leave, and says when reading may stop."""
    shard = Shard(2, 3)
    assert taken(50, shard=shard, limit=4) == taken(50, shard=shard)[:4]
    assert taken(50, sample=9, limit=4) == taken(50, sample=9)[:4]
    chooser = Chooser(Choice(limit=1))
    assert not chooser.is_done
    assert chooser.takes("a")
    assert chooser.is_done
    assert not chooser.takes("b")
    assert Choice(limit=3, sample=5).most(10) == 3


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    """With an example."""
    with pytest.raises(UsageError, match=r"--shard is .*such as 1/4"):
        Shard.parse(text)


def test_a_shard_is_read() -> None:
    """The first of four."""
    assert Shard.parse("1/4") == Shard(1, 4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limit": -1}, "--limit is -1; give 0 or more"),
        ({"sample": -2}, "--sample is -2"),
        ({"sample": 2, "shard": Shard(1, 2)}, "cannot be given together"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    """In a sentence about the options."""
    with pytest.raises(UsageError, match=message):
        Choice(**given)
