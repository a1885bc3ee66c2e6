"""The most that a call may take: bounds where there are any, else what answers have shown."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import CallCost
from batchllm.policy import FIRST_ANSWERS, FIRST_IN_FLIGHT, WorstCases

TEXTS = st.text(max_size=200)


@given(TEXTS, st.integers(0, 10_000))
def test_a_bounded_answer_is_reserved_at_its_bound(prompt: str, limit: int) -> None:
    """And no prompt has more tokens than bytes."""
    bound = WorstCases().bound("kind", prompt, CallCost(1, 3, limit))
    assert bound.sure
    assert bound.output_tokens == limit
    assert bound.input_tokens >= len(prompt.encode())


@given(st.lists(st.integers(1, 3_000), min_size=FIRST_ANSWERS, max_size=300))
def test_without_a_bound_answers_show_how_long_they_are(lengths: list[int]) -> None:
    """At first 4,096 tokens and ten calls, then twice what 99 in 100 have."""
    cases = WorstCases()
    for number, length in enumerate(lengths):
        bound = cases.bound("kind", "p", None)
        assert not bound.sure
        first = number < FIRST_ANSWERS
        assert cases.most_in_flight("kind", bound) == (FIRST_IN_FLIGHT if first else None)
        if first:
            assert bound.output_tokens == 4_096
        cases.learn("kind", "p", {"input_tokens": 5, "output_tokens": length})
    seen = lengths[: FIRST_ANSWERS * (len(lengths) // FIRST_ANSWERS)]
    learned = cases.bound("kind", "p", None).output_tokens
    assert 2 * sorted(seen)[int(0.98 * (len(seen) - 1))] <= learned <= 2 * max(seen)
    assert cases.longest == max(lengths)


def test_few_answers_of_a_lognormal_length_exceed_it() -> None:
    """One in some hundred at σ = 1, where the longest are ten times the usual."""
    rng, cases = random.Random(1), WorstCases()
    longer = 0
    for _ in range(20_000):
        length = int(rng.lognormvariate(5.0, 1.0)) + 1
        longer += length > cases.bound("kind", "p", None).output_tokens
        cases.learn("kind", "p", {"input_tokens": 5, "output_tokens": length})
    assert longer <= 20_000 * 0.003


def test_what_is_sent_round_a_prompt_shows_in_the_first_answer() -> None:
    """A system instruction, a schema, a picture; until then few calls go out."""
    cases, estimate = WorstCases(), CallCost(1, 1, 100)
    bound = cases.bound("kind", "abc", estimate)
    assert cases.most_in_flight("kind", bound) == FIRST_IN_FLIGHT
    cases.learn("kind", "abc", {"input_tokens": 2_003, "output_tokens": 1})
    bound = cases.bound("kind", "abcdef", estimate)
    assert bound.input_tokens >= 2_003
    assert cases.most_in_flight("kind", bound) is None
    assert cases.bound("another kind", "abc", estimate).input_tokens < 100


@pytest.mark.parametrize("usage", [None, {}, {"output_tokens": 3}, {"total_tokens": 9}])
def test_counts_that_are_unknown_teach_nothing(usage: Any) -> None:
    """Fifty such answers leave the first number in force."""
    cases = WorstCases()
    for _ in range(2 * FIRST_ANSWERS):
        cases.learn("kind", "p", usage)
    assert cases.bound("kind", "p", None).output_tokens == 4_096


def test_memory_is_bounded_however_many_kinds_there_are() -> None:
    """A strategy per item may have a kind of its own."""
    cases = WorstCases()
    for number in range(5_000):
        cases.learn(number, "p", {"input_tokens": 5, "output_tokens": 5})
    assert len(cases._kinds) <= 256


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_messages_and_texts_are_bounded_too(texts: list[str]) -> None:
    """Each with what a provider adds to a message."""
    messages = [{"role": "user", "content": text} for text in texts]
    for prompt in (messages, texts):
        bound = WorstCases().bound("kind", prompt, CallCost(1, 0, 1))
        assert bound.input_tokens >= sum(len(text.encode()) for text in texts) + 4 * len(texts)


def test_fifty_answers_show_how_long_those_of_a_kind_are_and_ten_go_at_a_time_until_then() -> None:
    """The 99th percentile of fifty is their longest; a surprise before comes ten times at most."""
    cases = WorstCases()
    for known in (49, 50):
        while sum(kind.answers for kind in cases._kinds.values()) < known:
            cases.learn("kind", "p", {"input_tokens": 5, "output_tokens": 100})
        bound = cases.bound("kind", "p", None)
        seen = bound.output_tokens, cases.most_in_flight("kind", bound)
        assert seen == ((4_096, 10) if known < 50 else (200, None))


@pytest.mark.parametrize(("short", "bound"), [(950, 2_000), (1_000, 20)])
def test_the_last_thousand_answers_show_what_is_usual(short: int, bound: int) -> None:
    """A run whose items grow shorter is not held to those of its beginning for ever."""
    cases = WorstCases()
    cases.learn_lengths("kind", 0, [1_000] * 1_000 + [10] * short)
    assert cases.usual_longest("kind") == bound


@pytest.mark.parametrize(("others", "known"), [(255, True), (256, False)])
def test_the_kind_that_was_not_heard_of_for_longest_is_forgotten(others: int, known: bool) -> None:
    cases = WorstCases()
    for number in range(others + 1):
        cases.learn_lengths(number, 0, [10] * 50)
    assert (cases.usual_longest(0) == 20) == known
