"""Prompts and work items."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, SupportsIndex, TypeAlias, TypeVar

import attrs
from attrs import define, field, setters

from batchllm.core.errors import InvalidItemError
from batchllm.core.sendable import check_texts
from batchllm.core.wording import kind_of

if TYPE_CHECKING:
    from batchllm.core.contracts import LLMCallStrategy

__all__ = ["ItemLike", "LLMWorkItem", "NumberedItem", "Prompt", "as_work_item", "check_prompt"]

In = TypeVar("In")
Out = TypeVar("Out")
Ctx = TypeVar("Ctx")

Prompt: TypeAlias = str | Sequence[Mapping[str, Any]]
"""A text, a list of chat messages (``{"role": …, "content": …}``), or a list of content parts
(``{"type": "text" | "image" | "file", …}``)."""

_Named: TypeAlias = tuple[str | int, Any] | tuple[str | int, Any, Any]

ItemLike: TypeAlias = "Prompt | Sequence[str] | _Named | LLMWorkItem[Any, Any, Any]"
"""The shapes of an item that every entry point accepts."""


def _read_id(value: object) -> str:
    if type(value) is str:
        if value and not value.isspace():
            if not value.isascii():
                check_texts(value, f"item_id {value!r}")
            return value
        msg = f"item_id is {value!r}; give each item an id that is not blank"
        raise InvalidItemError(msg)
    if isinstance(value, int | SupportsIndex) and not isinstance(value, bool):
        return str(operator.index(value))
    if isinstance(value, str):
        return _read_id(str(value))
    msg = f"item_id is {value!r}, {kind_of(value)}; give a str or an int"
    raise InvalidItemError(msg)


def _keep_id(instance: Any, attribute: attrs.Attribute[Any], value: object) -> str:
    if value != instance.item_id:
        msg = (
            f"item {instance.item_id!r}: item_id cannot be changed to {value!r}; "
            "results are matched by it"
        )
        raise InvalidItemError(msg)
    return str(instance.item_id)


def _positive(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        return
    kinds = int if attribute.name == "max_attempts" else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
        kind = "a whole number" if kinds is int else "a number"
        msg = (
            f"item {instance.item_id!r}: {attribute.name} is {value!r}; give {kind} above 0, "
            "or None for the batch's own"
        )
        raise InvalidItemError(msg)


@define(eq=False)
class LLMWorkItem(Generic[In, Out, Ctx]):
    """One prompt with an id.

    Args:
        item_id: Names the item in its result; not blank, unique in the batch. It never changes.
        strategy: How to call the model; ``None`` takes the batch's.
        prompt: A text, a list of chat messages or a list of content parts.
        context: Anything; it comes back in the result.
        timeout: Seconds for this item instead of ``timeout_per_item``.
        max_attempts: Attempts for this item instead of the retry configuration's.
        priority: Among the items that wait, those with a higher number go first.

    Raises:
        InvalidItemError: An argument is wrong.
    """

    item_id: str = field(converter=_read_id, on_setattr=_keep_id)
    strategy: LLMCallStrategy[Out] | None = None
    prompt: In = field(default="")  # type: ignore[assignment]
    context: Ctx | None = None
    timeout: float | None = field(
        default=None, kw_only=True, validator=_positive, on_setattr=setters.validate
    )
    max_attempts: int | None = field(
        default=None, kw_only=True, validator=_positive, on_setattr=setters.validate
    )
    priority: int = field(default=0, kw_only=True)


class NumberedItem(NamedTuple):
    """An item whose id stands for its place in the input, and is no name of its own.

    A journal finds it again by its prompt, since its place changes when a line is inserted.
    """

    item_id: str
    prompt: Any
    context: Any = None


def as_work_item(value: object, index: int, *, texts: bool = False) -> LLMWorkItem[Any, Any, Any]:
    """Read any accepted shape of item.

    Args:
        value: A prompt, ``(id, prompt)``, ``(id, prompt, context)`` or an ``LLMWorkItem``.
        index: The item's position, from 0, which names it where it has no id.
        texts: Whether a prompt may also be a list of texts.

    Raises:
        InvalidItemError: It has none of these shapes, or a text in it cannot be encoded.
    """
    if type(value) is str:
        if not value.isascii():  # else there is nothing to check, which is so of most
            check_texts(value, f"item {index}: its prompt")
        return LLMWorkItem(str(index), None, value)
    if isinstance(value, LLMWorkItem):
        check_texts(value.prompt, f"item {value.item_id!r}: its prompt")
        return value
    if isinstance(value, tuple):
        parts: tuple[Any, ...] = value
        if len(parts) in (2, 3):
            prompt = parts[1]
            if type(prompt) is not str or not prompt.isascii():
                prompt = check_prompt(prompt, f"item {index}: its prompt", texts=texts)
            return LLMWorkItem(parts[0], None, prompt, parts[2] if len(parts) == 3 else None)
        msg = f"item {index}: a tuple of {len(parts)}; give (id, prompt) or (id, prompt, context)"
        raise InvalidItemError(msg)
    prompt = check_prompt(value, f"item {index}: its prompt", texts=texts)
    return LLMWorkItem(str(index), None, prompt)


def check_prompt(value: Any, what: str = "the prompt", *, texts: bool = False) -> Any:
    """Return *value* if it is a prompt.

    Args:
        value: A text, a list of chat messages or a list of content parts.
        what: How the message calls it.
        texts: Whether it may also be a list of texts.

    Raises:
        InvalidItemError: It is something else, or a text in it cannot be encoded.
    """
    if isinstance(value, str):
        check_texts(value, what)
        return value
    if isinstance(value, list | tuple) and value:
        parts: Sequence[Any] = value
        if all(isinstance(part, Mapping) for part in parts) or (
            texts and all(isinstance(part, str) for part in parts)
        ):
            check_texts(value, what)
            return value
    if texts:
        msg = f"{what} is {kind_of(value)}; give a text, or a list of texts that is not empty"
        raise InvalidItemError(msg)
    msg = (
        f"{what} is {kind_of(value)}; give a text, a list of chat "
        'messages ({"role": …, "content": …}) or a list of content parts'
    )
    if isinstance(value, list) and len(value) in (2, 3) and isinstance(value[0], str | int):
        msg += "; an id and a prompt are given as a tuple: (id, prompt)"
    raise InvalidItemError(msg)
