"""The data of images and files in a prompt: as bytes, in whichever way they were given."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

__all__ = ["Media", "parts_of", "read_media"]


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
        msg = (
            f"a part of type {part.get('type')!r} has no data; give data (bytes or base64) and "
            "media_type, or a url"
        )
        raise ValueError(msg)
    if data.startswith("data:"):
        head, _, data = data.partition(",")
        media_type = head.removeprefix("data:").partition(";")[0] or media_type
    try:
        return Media(media_type, base64.b64decode(data, validate=True))
    except binascii.Error as error:
        msg = f"the data of a part of type {part.get('type')!r} is no base64 ({error})"
        raise ValueError(msg) from error


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
