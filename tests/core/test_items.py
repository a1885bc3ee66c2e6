import enum
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import InvalidItemError, LLMWorkItem, as_work_item

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("hi", ("7", "hi", None)),
        (("a", "hi"), ("a", "hi", None)),
        ((3, "hi", {"k": 1}), ("3", "hi", {"k": 1})),
        (MESSAGES, ("7", MESSAGES, None)),
        (tuple(MESSAGES * 4), ("7", tuple(MESSAGES * 4), None)),
        (("a", MESSAGES), ("a", MESSAGES, None)),
    ],
)
def test_every_shape_becomes_an_item(shape: Any, expected: Any) -> None:
    """A prompt alone is named by its position; tuples bring id and context."""
    if isinstance(shape, tuple) and len(shape) > 3:
        with pytest.raises(InvalidItemError, match="a tuple of 4"):
            as_work_item(shape, 7)
        return
    item = as_work_item(shape, 7)
    assert (item.item_id, item.prompt, item.context) == expected


def test_an_item_is_taken_as_it_is() -> None:
    """No copy is made, so that the caller's changes to it hold."""
    item: LLMWorkItem[Any, Any, Any] = LLMWorkItem("a", None, "hi")
    assert as_work_item(item, 7) is item


class Text(str):
    __slots__ = ()


class Index:
    """A whole number of another library, such as numpy's."""

    def __index__(self) -> int:
        return 5


class Number(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("given", "read"),
    [("a", "a"), (0, "0"), (Text("a"), "a"), (Number.ONE, "1"), (Index(), "5")],
)
def test_ids_become_plain_text(given: Any, read: str) -> None:
    """Whole numbers of any kind and subclasses of text are accepted."""
    item: LLMWorkItem[Any, Any, Any] = LLMWorkItem(given)
    assert item.item_id == read
    assert type(item.item_id) is str


@pytest.mark.parametrize("bad", ["", " \n", None, True, 1.0, b"a", ["a"], Text(" ")])
def test_bad_ids_are_refused(bad: Any) -> None:
    """Blank ids, and what is neither text nor a whole number."""
    with pytest.raises(InvalidItemError, match="item_id is"):
        LLMWorkItem(bad)


@pytest.mark.parametrize(
    "bad", [None, 3, b"hi", [], {"role": "user"}, ["hi"], [1], ("a",), (), ("a", 3), ("a", None)]
)
def test_bad_prompts_are_refused_with_their_position(bad: Any) -> None:
    """A prompt of a wrong type says which item it belongs to."""
    with pytest.raises(InvalidItemError, match="item 7"):
        as_work_item(bad, 7)


def test_the_id_never_changes() -> None:
    """Everything else may be assigned or evolved by a middleware."""
    item: LLMWorkItem[Any, Any, Any] = LLMWorkItem("a", None, "hi")
    item.prompt, item.context, item.timeout = "ho", 3, 4.5
    item.item_id = "a"
    assert attrs.evolve(item, prompt="he").item_id == "a"
    with pytest.raises(InvalidItemError, match="cannot be changed to 'b'"):
        item.item_id = "b"
    assert item.item_id == "a"


@pytest.mark.parametrize("name", ["timeout", "max_attempts"])
@pytest.mark.parametrize("bad", [0, -1, float("nan"), "3", True, []])
def test_overrides_are_checked(name: str, bad: Any) -> None:
    """At the start and on assignment, naming item and field."""
    with pytest.raises(InvalidItemError, match=f"item 'a': {name} is"):
        LLMWorkItem("a", **{name: bad})
    item: LLMWorkItem[Any, Any, Any] = LLMWorkItem("a")
    with pytest.raises(InvalidItemError, match=f"item 'a': {name} is"):
        setattr(item, name, bad)


def test_attempts_are_whole() -> None:
    """Half an attempt cannot be made; half a second can pass."""
    with pytest.raises(InvalidItemError, match="give a whole number above 0"):
        LLMWorkItem("a", max_attempts=1.5)  # type: ignore[arg-type]
    item: LLMWorkItem[Any, Any, Any] = LLMWorkItem("a", timeout=0.5, max_attempts=2)
    assert (item.timeout, item.max_attempts) == (0.5, 2)


def test_equal_items_are_not_the_same() -> None:
    """Items are told apart by identity, so that they can be kept in sets."""
    one: LLMWorkItem[Any, Any, Any] = LLMWorkItem("a")
    other: LLMWorkItem[Any, Any, Any] = LLMWorkItem("a")
    assert one != other
    assert len({one, other}) == 2


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


@given(anything, st.integers(0, 10**9))
def test_any_value_is_an_item_or_a_refusal(value: Any, position: int) -> None:
    """Nothing but ``InvalidItemError`` is raised, and every id is a text that is not blank."""
    try:
        item = as_work_item(value, position)
    except InvalidItemError:
        return
    assert type(item.item_id) is str
    assert item.item_id.strip()


def test_a_list_in_place_of_a_tuple_is_told() -> None:
    """An id and a prompt in a list look like a prompt; the message shows the way."""
    with pytest.raises(InvalidItemError, match=r"item 3: its prompt is a list; .*\(id, prompt\)"):
        as_work_item(["a", "b"], 3)
    with pytest.raises(InvalidItemError, match="an int; give a text") as caught:
        as_work_item(5, 3)
    assert "(id, prompt)" not in str(caught.value)
