"""The identity of items and strategies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import InvalidItemError
from batchllm.journal import Registrar
from batchllm.journal.identity import (
    Occurrences,
    canonical_identity,
    changing,
    differences,
    digest_of,
    id_of_key,
    key_of_id,
)
from tests.journal.kit import Named

SALT = b"0123456789abcdef"
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(PLAIN, PLAIN)
def test_prompts_have_the_same_digest_if_they_are_the_same(left: Any, right: Any) -> None:
    """Equal prompts agree, whatever the order of their keys, and others do not."""
    same = json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    assert (digest_of(left, SALT) == digest_of(right, SALT)) == same


def test_a_mapping_has_one_digest_whatever_its_order() -> None:
    assert digest_of([{"a": 1, "b": 2}], SALT) == digest_of([{"b": 2, "a": 1}], SALT)


def test_a_text_is_not_taken_for_messages_that_are_written_alike() -> None:
    assert digest_of('[{"a":1}]', SALT) != digest_of([{"a": 1}], SALT)


def test_digests_of_two_journals_cannot_be_compared() -> None:
    assert digest_of("a", SALT) != digest_of("a", b"another")


def test_what_has_no_canonical_form_has_no_digest() -> None:
    looped: list[Any] = []
    looped.append(looped)
    assert digest_of([{"content": object()}], SALT) is None
    assert digest_of(looped, SALT) is None
    assert digest_of("half \ud800", SALT) is not None


@given(st.lists(st.sampled_from("abc")))
def test_equal_prompts_are_numbered_in_their_order(prompts: list[str]) -> None:
    """No two items share a key, and the same input gives the same keys again."""

    def keys() -> list[tuple[str, str]]:
        seen = Occurrences()
        return [seen.key("", digest_of(prompt, SALT) or b"") for prompt in prompts]

    assert len(set(keys())) == len(prompts)
    assert keys() == keys()


def test_an_inserted_line_moves_no_other() -> None:
    def keys(prompts: list[str]) -> set[tuple[str, str]]:
        registrar = Registrar(SALT, Named())
        return {registrar.enter(None, p, i).key for i, p in enumerate(prompts)}

    assert keys(["a", "b", "a"]) < keys(["new", "a", "b", "a"])


def test_sources_are_apart() -> None:
    seen = Occurrences()
    digest = digest_of("a", SALT) or b""
    assert seen.key("x", digest)[1] == seen.key("y", digest)[1]
    assert seen.key("x", digest) == ("x", f"#{digest.hex()}.1")


def test_an_id_is_no_digest() -> None:
    """The key of an item with any id is not that of one without."""
    key = key_of_id("", "#00.0")
    assert key == ("", "=#00.0")
    assert id_of_key(key) == "#00.0"
    assert id_of_key(("", "#00.0")) is None


def test_what_can_be_found_again_by_nothing_is_refused() -> None:
    registrar = Registrar(SALT, Named())
    with pytest.raises(InvalidItemError, match=r"item 3: .* give the item an id"):
        registrar.enter(None, [{"content": object()}], 3)
    assert registrar.enter("a", [{"content": object()}], 3).prompt is None


def test_a_strategy_of_an_item_is_its_own() -> None:
    registrar = Registrar(SALT, Named())
    mine, theirs = registrar.enter("a", "p", 0), registrar.enter("b", "p", 1, Named(0.5))
    assert (mine.own, theirs.own) == (False, True)
    assert mine.identity != theirs.identity
    assert registrar.enter("c", "p", 2, Named(0.5)).identity == theirs.identity


def test_an_identity_is_written_without_addresses() -> None:
    text = canonical_identity({"b": object(), "a": test_sources_are_apart, "c": {"y": 1, "x": 2}})
    assert text == (
        f'{{"a":"{__name__}.test_sources_are_apart","b":"builtins.object","c":{{"x":2,"y":1}}}}'
    )


def test_a_difference_is_named_by_its_field() -> None:
    before = canonical_identity({"model": {"name": "a" * 99, "temperature": 0}, "gone": True})
    now = canonical_identity({"model": {"name": "b", "temperature": 0.2}})
    assert differences(before, now) == (
        f"gone true → none; model.name {'a' * 59}… → b; model.temperature 0 → 0.2"
    )
    assert differences(before, before) == "no field that can be named"


class Counting(Named):
    """A strategy with a setting and a count, as users write them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.inner: Counting | None = None

    @classmethod
    def round_another(cls) -> Counting:
        outer = cls()
        outer.inner = cls()
        return outer

    def identity(self) -> Any:
        parts = [] if self.inner is None else [self.inner.identity()]
        return {**super().identity(), "parts": parts}


def test_what_a_run_changes_is_state() -> None:
    """At any depth; the other fields still tell strategies apart."""
    strategy = Counting.round_another()
    assert strategy.inner is not None
    registrar = Registrar(SALT, strategy)
    assert not registrar.changed_by_the_run()
    strategy.calls, strategy.inner.calls = 7, 5
    volatile = registrar.changed_by_the_run()
    assert volatile == {f"{__name__}.Counting.calls"}
    later = Registrar(SALT, strategy, volatile)
    assert later.identity == Registrar(SALT, Counting.round_another(), volatile).identity
    strategy.temperature = 0.7
    assert Registrar(SALT, strategy, volatile).identity != later.identity
    assert "calls" not in later.identity.text


def test_a_part_that_came_or_went_is_no_state() -> None:
    assert changing({"class": "A", "parts": [1]}, {"class": "A", "parts": [1, 2], "x": 1}) == set()


def test_an_identity_can_be_written_whatever_a_setting_says() -> None:
    """Half of a surrogate pair is spelled as JSON spells it, and read again as it was."""
    text = canonical_identity({"system": "half \ud83d pair", "name": "é"})
    assert text.encode().decode() == text == '{"name":"é","system":"half \\ud83d pair"}'
    assert json.loads(text)["system"] == "half \ud83d pair"
