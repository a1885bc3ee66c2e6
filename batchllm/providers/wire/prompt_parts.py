"""Prompts of every shape as messages, and the data of images and files in them as bytes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

__all__ = ["AsPart", "Media", "messages_of", "no_data", "parts_of", "read_media"]

AsPart: TypeAlias = Callable[[Mapping[str, Any], str], Mapping[str, Any]]
"""Writes a content part, of a message with that role, as a wire has it."""


class Media(NamedTuple):
    """The content of an image or a file."""

    media_type: str
    data: bytes


def read_media(part: Mapping[str, Any], media_type: str) -> Media:
    """Read the data of *part*: bytes, base64 or a ``data:`` URL, under ``"data"`` or ``"url"``.

    Args:
        part: Its ``"media_type"`` says what it is, if the URL does not.
        media_type: Its type if neither says so.

    Raises:
        ValueError: It has no data, or what it has is no base64.
    """
    data = part.get("data") or part.get("url")
    media_type = part.get("media_type", media_type)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return Media(media_type, bytes(data))
    if not isinstance(data, str) or not data:
        raise no_data(part)
    if data.startswith("data:"):
        head, _, data = data.partition(",")
        media_type = head.removeprefix("data:").partition(";")[0] or media_type
    try:
        return Media(media_type, base64.b64decode(data, validate=True))
    except binascii.Error as error:
        msg = f"the data of a part of type {part.get('type')!r} is no base64 ({error})"
        raise ValueError(msg) from error


def no_data(part: Mapping[str, Any]) -> ValueError:
    """Make the error for an image or a file without its content."""
    msg = (
        f"a part of type {part.get('type')!r} has no data; give data (bytes or base64) and "
        "media_type, or a url"
    )
    return ValueError(msg)


def parts_of(prompt: Any) -> Sequence[Mapping[str, Any]]:
    """Return the messages or content parts that a prompt is made of, if it is no text.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(prompt, Sequence):
        parts = cast("Sequence[object]", prompt)
        if parts and all(isinstance(part, Mapping) for part in parts):
            return cast("Sequence[Mapping[str, Any]]", parts)
    msg = (
        f"the prompt is a {type(prompt).__name__}; give a text, a list of chat messages "
        '({"role": …, "content": …}) or a list of content parts ({"type": "text", "text": …})'
    )
    raise ValueError(msg)


def messages_of(
    prompt: Any,
    as_part: AsPart,
    is_item: Callable[[Mapping[str, Any]], bool] = lambda part: False,
) -> list[Mapping[str, Any]]:
    """Return *prompt* as messages, with each part of them as the wire has it.

    Args:
        prompt: A text, chat messages, or content parts (one user message).
        as_part: Writes a content part.
        is_item: Says of something without a role whether it may stand beside messages.

    Raises:
        ValueError: The prompt has another shape, or a part lacks what it needs.
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    parts = parts_of(prompt)
    if "role" not in parts[0] and not is_item(parts[0]):
        return [{"role": "user", "content": [_part(part, "user", as_part) for part in parts]}]
    messages: list[Mapping[str, Any]] = []
    for index, message in enumerate(parts):
        content = message.get("content")
        if "role" not in message and not is_item(message):
            msg = f"message {index} has no role; a prompt is either messages or content parts"
            raise ValueError(msg)
        # No content at all is what a message with calls of tools has.
        if "role" in message and content is not None and not isinstance(content, str):
            written = [_part(part, message["role"], as_part) for part in parts_of(content)]
            message = {**message, "content": written}
        messages.append(message)
    return messages


def _part(part: Mapping[str, Any], role: str, as_part: AsPart) -> Mapping[str, Any]:
    if part.get("type") is None:
        msg = f"a content part has no type; its keys are {sorted(part)}"
        raise ValueError(msg)
    return as_part(part, role)
