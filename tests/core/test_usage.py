import gc
import weakref
from types import SimpleNamespace as Usage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import TokenUsage, add_usage, normalize_usage

ANTHROPIC = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 30,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 3},
}
ANTHROPIC_READ = {
    "input_tokens": 60,
    "output_tokens": 7,
    "total_tokens": 67,
    "cached_input_tokens": 30,
    "cache_write_tokens": 20,
    "reasoning_tokens": 3,
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 7,
                "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            {
                "input_tokens": 5,
                "output_tokens": 7,
                "total_tokens": 12,
                "cached_input_tokens": 2,
                "cache_write_tokens": 1,
                "reasoning_tokens": 4,
            },
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 7, "prompt_cache_hit_tokens": 3},
            {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12, "cached_input_tokens": 3},
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 7, "num_cached_tokens": 3},
            {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12, "cached_input_tokens": 3},
        ),
        (
            {
                "input_tokens": 5,
                "output_tokens": 7,
                "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
                "output_tokens_details": {"reasoning_tokens": 4},
            },
            {
                "input_tokens": 5,
                "output_tokens": 7,
                "total_tokens": 12,
                "cached_input_tokens": 2,
                "cache_write_tokens": 1,
                "reasoning_tokens": 4,
            },
        ),
        (ANTHROPIC, ANTHROPIC_READ),
        (
            {
                "input_tokens": 10,
                "output_tokens": 7,
                "cache_read_input_tokens": None,
                "cache_creation_input_tokens": None,
            },
            {"input_tokens": 10, "output_tokens": 7, "total_tokens": 17},
        ),
        (
            {
                "prompt_token_count": 5,
                "tool_use_prompt_token_count": 2,
                "candidates_token_count": 7,
                "thoughts_token_count": 4,
                "cached_content_token_count": 3,
                "total_token_count": 18,
            },
            {
                "input_tokens": 7,
                "output_tokens": 11,
                "total_tokens": 18,
                "cached_input_tokens": 3,
                "reasoning_tokens": 4,
            },
        ),
        (
            {"prompt_token_count": 5, "thoughts_token_count": 4, "candidates_token_count": None},
            {"input_tokens": 5, "output_tokens": 4, "total_tokens": 9, "reasoning_tokens": 4},
        ),
        (
            {"request_tokens": 5, "response_tokens": 7, "total_tokens": 12, "details": None},
            {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
        ),
        (
            {
                "input_tokens": 5,
                "cache_read_tokens": 2,
                "cache_write_tokens": 1,
                "output_tokens": 7,
                "details": {"reasoning_tokens": 4},
            },
            {
                "input_tokens": 5,
                "output_tokens": 7,
                "total_tokens": 12,
                "cached_input_tokens": 2,
                "cache_write_tokens": 1,
                "reasoning_tokens": 4,
            },
        ),
        (
            {
                "input_tokens": 5,
                "output_tokens": 7,
                "input_token_details": {"cache_read": 2, "cache_creation": 1},
                "output_token_details": {"reasoning": 4},
            },
            {
                "input_tokens": 5,
                "output_tokens": 7,
                "total_tokens": 12,
                "cached_input_tokens": 2,
                "cache_write_tokens": 1,
                "reasoning_tokens": 4,
            },
        ),
        (
            {"prompt_eval_count": 5, "eval_count": 7},
            {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
        ),
        ({"output_tokens": 0}, {"output_tokens": 0, "total_tokens": 0}),
        ({"cached_input_tokens": 3}, {"cached_input_tokens": 3}),
        (
            {"input_tokens": -1, "output_tokens": float("nan"), "total_tokens": float("inf")},
            None,
        ),
        ({"input_tokens": True, "output_tokens": "7"}, {"output_tokens": 7, "total_tokens": 7}),
        ({"input_tokens": True, "output_tokens": "seven", "total_tokens": "-1"}, None),
        ({"input_tokens": None, "total_tokens": 3}, {"total_tokens": 3}),
        ({}, None),
        (None, None),
    ],
)
def test_every_providers_usage_is_read(given: Any, expected: Any) -> None:
    """Mappings and objects alike, with inclusive input and output; nonsense is unknown."""
    assert normalize_usage(given) == expected
    if given is not None:
        assert normalize_usage(as_object(given)) == expected


def as_object(value: Any) -> Any:
    if isinstance(value, dict):
        return Usage(**{key: as_object(part) for key, part in value.items()})
    return value


class Slotted:
    """Keeps its counts in slots, and sums them up in a property."""

    __slots__ = ("input_tokens", "output_tokens")

    def __init__(self) -> None:
        self.input_tokens, self.output_tokens = 5, 7

    @property
    def total_tokens(self) -> int:
        return 13


class Answering:
    """Answers for names that stand nowhere."""

    def __getattr__(self, name: str) -> int:
        if name in ("prompt_tokens", "completion_tokens"):
            return 5
        raise AttributeError(name)


def test_counts_are_found_wherever_an_object_keeps_them() -> None:
    """In slots, in properties, behind ``__getattr__`` and among a model's extra fields."""
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        model_config = pydantic.ConfigDict(extra="allow")
        prompt_tokens: int

    read: Any = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 13}
    assert normalize_usage(Slotted()) == read
    assert normalize_usage(Answering()) == {**read, "output_tokens": 5, "total_tokens": 10}
    model = Model(prompt_tokens=5, completion_tokens=7, prompt_cache_hit_tokens=3)
    expected = {**read, "total_tokens": 12, "cached_input_tokens": 3}
    assert normalize_usage(model) == expected


@given(st.permutations(["prompt_tokens", "input_tokens", "request_tokens", "completion_tokens"]))
def test_the_order_of_fields_decides_nothing(names: list[str]) -> None:
    """Of two names for the same count the one that stands first in our table is taken."""
    counts = {"input_tokens": 1, "prompt_tokens": 2, "request_tokens": 3, "completion_tokens": 4}
    read = normalize_usage({name: counts[name] for name in names})
    assert read == {"input_tokens": 1, "output_tokens": 4, "total_tokens": 5}


@given(
    st.lists(
        st.fixed_dictionaries(
            {"prompt_tokens": st.none() | st.integers(-1, 9), "completion_tokens": st.just("7")},
            optional={
                "input_tokens": st.none() | st.integers(-1, 9) | st.just("3"),
                "prompt_tokens_details": st.none()
                | st.just(7)
                | st.fixed_dictionaries({}, optional={"cached_tokens": st.integers(-1, 9)}),
                "num_cached_tokens": st.integers(0, 9),
            },
        ),
        min_size=2,
        max_size=6,
    )
)
def test_usages_with_the_same_fields_are_read_each_for_itself(usages: list[Any]) -> None:
    """Of one is kept where its counts may be, never whether they are there."""
    for usage in usages:
        inputs = (usage.get("input_tokens"), usage["prompt_tokens"])
        details = usage.get("prompt_tokens_details")
        within = details.get("cached_tokens") if isinstance(details, dict) else None
        cached = (within, usage.get("num_cached_tokens"))
        expected = {"output_tokens": 7}
        for key, values in (("input_tokens", inputs), ("cached_input_tokens", cached)):
            counts = [int(value) for value in values if value is not None and int(value) >= 0]
            if counts:
                expected[key] = counts[0]
        expected["total_tokens"] = expected.get("input_tokens", 0) + 7
        assert normalize_usage(usage) == expected


def test_a_settled_usage_is_not_copied() -> None:
    """The fast way: what has our keys and a total is taken as it is."""
    usage: TokenUsage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    assert normalize_usage(usage) is usage


numbers = st.integers(0, 10**9)
usages: Any = st.none() | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(TokenUsage.__annotations__, numbers)
)


@given(usages, usages, usages)
def test_sums_are_the_same_in_every_order(left: Any, middle: Any, right: Any) -> None:
    """Adding is associative and commutative, ``None`` is nothing, and no operand changes."""
    before = [None if usage is None else dict(usage) for usage in (left, middle, right)]
    total = add_usage(add_usage(left, middle), right)
    assert total == add_usage(left, add_usage(right, middle))
    assert before == [left, middle, right]
    for key in TokenUsage.__annotations__:
        known = [usage[key] for usage in before if usage and key in usage]
        assert (total or {}).get(key, 0) == sum(known)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.floats() | st.none() | st.text()))
def test_any_mapping_is_read(usage: dict[str, Any]) -> None:
    """Reading twice changes nothing, and only whole numbers of at least 0 are left."""
    for key, name in zip(list(usage), TokenUsage.__annotations__, strict=False):
        usage[name] = usage.pop(key)
    read = normalize_usage(usage)
    assert normalize_usage(read) == read
    assert all(type(n) is int and n >= 0 for n in (read or {}).values())


@pytest.mark.parametrize("wrong", [10**12 + 1, 10**30, "9" * 19, 1e300])
@pytest.mark.parametrize("name", ["input_tokens", "prompt_tokens"])
def test_more_tokens_than_there_are_is_unknown(name: str, wrong: Any) -> None:
    """A server's mistake, whose sum would fit into no column of a journal."""
    assert normalize_usage({name: wrong}) is None
    assert normalize_usage({name: wrong, "output_tokens": 1, "total_tokens": 2}) == {
        "output_tokens": 1,
        "total_tokens": 2,
    }
    nested = {"completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": wrong}}
    assert normalize_usage(nested) == {"output_tokens": 1, "total_tokens": 1}
    prompt = {
        "prompt_token_count": 1,
        "thoughts_token_count": 0,
        "tool_use_prompt_token_count": wrong,
    }
    assert (normalize_usage(prompt) or {}).get("input_tokens") == 1


def test_the_names_of_a_usage_that_has_very_many_are_not_kept() -> None:
    """A server may make up any, and its reply may be as large as one may be."""

    class Name(str):
        __slots__ = ("__weakref__",)

    names = [Name(f"field {number}") for number in range(100)]
    alive = weakref.WeakSet(names)
    counts: dict[str, int] = {**dict.fromkeys(names, 1), "prompt_tokens": 5}
    assert normalize_usage(counts) == {"input_tokens": 5, "total_tokens": 5}
    del names, counts
    gc.collect()
    assert not alive
