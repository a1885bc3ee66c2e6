"""Items are counted one by one, and some are picked to be shown."""

from collections.abc import Iterator
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from batchllm.reports.counting import Counting, Seen
from batchllm.reports.picking import Picker


def seen(number: int, **more: Any) -> Seen:
    """An answered item that took a second."""
    usual = Seen(
        number, f"p{number}", True, None, None, "m", {"input_tokens": 7}, 0.5, 1,
        (0.1, 0.2, 1.0, 0.3), None,
    )  # fmt: skip
    return attrs.evolve(usual, **more)


def test_items_are_counted_by_kind_and_model() -> None:
    """Tokens and dollars are those of all items, failed ones included."""
    counting = Counting()
    for one in (
        seen(1),
        seen(2, model="other", cost=None),
        seen(3, success=False, category="timeout", error="too late"),
        seen(4, success=False, category=None, error="odd", model=None, attempts=3),
    ):
        counting.add(one)
    assert (counting.items, counting.succeeded, counting.cost) == (4, 2, 1.5)
    assert counting.kinds == {"timeout": 1, "unknown": 1}
    assert counting.tokens == {"input_tokens": 28}
    assert {name: sums.items for name, sums in counting.models.items()} == {
        "m": 2, "other": 1, "": 1,
    }  # fmt: skip
    assert counting.attempts == {1: 3, 3: 1}
    assert (counting.latency.count, counting.calls) == (2, 4)


def test_a_call_that_never_started_is_none() -> None:
    """The item ended while it waited for it."""
    counting = Counting()
    counting.add(seen(1, spans=(0.1, 0.0, 2.0, 0.5, 3.0, 0.0, 0.0, 0.0)))
    assert counting.calls == 1


def test_what_had_no_turn_has_not_failed() -> None:
    """Items that were left out or stopped are counted apart."""
    counting = Counting()
    for category in ("stopped", "parked", "skipped", "cancelled"):
        counting.add(seen(1, success=False, category=category, error="no turn"))
    assert counting.not_tried == {"stopped": 1, "parked": 1, "skipped": 1}
    assert counting.kinds == {"cancelled": 1}


def test_the_slowest_items_come_first() -> None:
    """By the time of being called, whatever they waited."""
    counting = Counting()
    for n in range(200):
        counting.add(seen(n, spans=(0.0, 0.0, float(n % 100), 500.0 - n)))
    slowest = [one.seconds for one in counting.slowest]
    assert slowest == sorted(slowest, reverse=True)
    assert (len(slowest), slowest[0], slowest[-1]) == (20, 99.0, 90.0)


def test_more_models_than_can_be_shown_are_counted_together() -> None:
    """Fifty of them, and the others as one."""
    counting = Counting()
    for n in range(80):
        counting.add(seen(n, model=f"m{n}"))
    assert len(counting.models) == 51
    assert counting.models["others"].items == 30


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=120), st.integers(1, 20))
def test_picked_items_are_few_and_fair(kinds: list[str], most: int) -> None:
    """All if there are few; else so many, each once, in order, with a failure of each kind."""
    picker = Picker(most=most)
    for n, kind in enumerate(kinds):
        picker.add(seen(n, success=not kind, category=kind or None))
    picked = picker.picked([])
    assert picked == sorted(set(picked))
    failed = {n for n, kind in enumerate(kinds) if kind}
    if len(kinds) <= most:
        assert picked == list(range(len(kinds)))
    else:
        assert len(picked) == max(most, len(failed & set(picked)))
    assert {kinds[n] for n in picked} >= set(kinds) - {""}


def test_others_are_picked_by_chance_from_the_whole_run() -> None:
    """Of each tenth of a large run about as many, and the same ones each time."""

    def picked() -> list[int]:
        picker = Picker()
        for n in range(20_000):
            picker.add(seen(n))
        return picker.picked([])

    def shares(numbers: list[int]) -> Iterator[int]:
        for tenth in range(10):
            yield sum(n // 2_000 == tenth for n in numbers)

    found = picked()
    assert len(found) == 1_000
    assert all(60 <= share <= 140 for share in shares(found))
    assert found == picked()
