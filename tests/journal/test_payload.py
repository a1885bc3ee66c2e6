"""Results as bytes, and back."""

import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import JournalError, RecordedError
from batchllm.journal.payload import decode_result, encode_result, pack, unpack
from tests.journal.kit import failure, ok


@frozen
class Mood:
    word: str
    score: float


@dataclass
class Pair:
    left: int
    right: Mood


class Colour(Enum):
    RED = "red"
    SIZES = (1, 2)


class Point(NamedTuple):
    x: int
    y: int


def there_and_back(output: Any) -> Any:
    return decode_result(pack(encode_result(ok("a", output))))["output"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.floats() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=9)
        | st.dictionaries(st.text(max_size=4) | st.just("$") | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(Pair, st.integers(-9, 9), st.builds(Mood, st.text(max_size=4), st.just(0.5)))
    ),
    max_leaves=12,
)


@given(VALUES)
def test_an_output_comes_back_as_what_it_was(value: Any) -> None:
    """Types and all; NaN is compared by its words."""
    assert repr(there_and_back(value)) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        Mood("glad", 0.9),
        [Mood("glad", math.inf)],
        Colour.RED,
        Colour.SIZES,
        Point(1, 2),
        {"when": datetime(2026, 1, 2, tzinfo=UTC), "much": Decimal("1.20")},
        UUID(int=7),
        {1, 2},
        [0.5, 0.25] * 40,
        [0.1] * 40,
        "half a pair \ud800",
    ],
)
def test_kinds_of_outputs(value: Any) -> None:
    back = there_and_back(value)
    assert back == value
    assert type(back) is type(value)


def test_vectors_are_packed_only_if_nothing_is_lost() -> None:
    exact, not_exact = [0.5] * 1000, [1 / 3] * 1000
    assert len(encode_result(ok("a", exact))) < 6_000 < len(encode_result(ok("a", not_exact)))


def test_a_model_of_pydantic_comes_back() -> None:
    pydantic = pytest.importorskip("pydantic")
    kind = pydantic.create_model("Made", __module__=__name__, word=(str, ...))
    sys.modules[__name__].Made = kind
    assert there_and_back(kind(word="x")) == kind(word="x")


@pytest.mark.parametrize("value", [object(), print, [{"a": object()}]])
def test_what_has_no_form_in_json_is_refused_by_name(value: Any) -> None:
    with pytest.raises(JournalError, match=r"item 'a': its output.* journal cannot keep") as caught:
        encode_result(ok("a", value))
    assert caught.value.problem == "unserialisable"


def test_a_class_that_cannot_be_found_again_is_refused_at_once() -> None:
    @frozen
    class Local:
        x: int

    with pytest.raises(JournalError, match="local to a function"):
        encode_result(ok("a", Local(1)))


def test_what_holds_itself_is_refused() -> None:
    looped: list[Any] = []
    looped.append(looped)
    with pytest.raises(JournalError, match="nested too deeply"):
        encode_result(ok("a", looped))


def test_nothing_is_imported_because_a_file_says_so() -> None:
    data = encode_result(ok("a", Mood("x", 1.0))).replace(__name__.encode(), b"antigravity")
    with pytest.raises(JournalError, match="not loaded; import it") as caught:
        decode_result(data)
    assert caught.value.problem == "unreadable_output"
    assert "antigravity" not in sys.modules
    assert decode_result(data, Mood)["output"] == Mood("x", 1.0)


def test_nothing_is_called_that_holds_no_data() -> None:
    data = encode_result(ok("a", Mood("x", 1.0))).replace(f"{__name__}:Mood".encode(), b"os:system")
    with pytest.raises(JournalError, match="not loaded"):
        decode_result(data)


def test_a_class_that_has_changed_is_said() -> None:
    data = encode_result(ok("a", Mood("x", 1.0))).replace(b":Mood", b":Pair")
    with pytest.raises(JournalError, match="is no Pair as that class is now"):
        decode_result(data)


def test_a_failure_keeps_its_words() -> None:
    fields = decode_result(encode_result(failure("b")))
    error = fields["exception"]
    assert isinstance(error, RecordedError)
    assert (fields["error"], fields["error_category"], fields["attempts"]) == ("no", "unknown", 3)
    assert str(error) == "ValueError: no"
    again = evolve(failure("b"), exception=error, output=object())
    assert str(decode_result(encode_result(again))["exception"]) == "ValueError: no"


def test_an_exception_that_cannot_be_read_is_no_reason_to_lose_its_item() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    fields = decode_result(encode_result(evolve(failure("b"), exception=Broken())))
    said = "Broken: (its message cannot be read: RuntimeError)"
    assert str(fields["exception"]).endswith(said)


def test_metadata_and_context_are_kept_as_far_as_they_go() -> None:
    result = evolve(ok("a"), metadata={"raw": object(), "finish": "stop"}, context={"tag": 3})
    fields = decode_result(encode_result(result, prompt=[{"role": "user", "content": "x"}]))
    assert (fields["metadata"], fields["context"]) == ({"finish": "stop"}, {"tag": 3})
    assert fields["prompt"] == [{"role": "user", "content": "x"}]
    assert decode_result(encode_result(evolve(result, context=object())))["context"] is None


def test_prompts_can_be_left_out() -> None:
    data = encode_result(evolve(ok("a"), context="SECRET"), prompt="SECRET", keep_inputs=False)
    assert b"SECRET" not in data
    assert decode_result(data)["prompt"] is None


@given(st.binary(max_size=3000))
def test_packing_loses_nothing(data: bytes) -> None:
    data = b"{" + data
    assert unpack(pack(data)) == data
    assert len(pack(data)) <= len(data) + 30
