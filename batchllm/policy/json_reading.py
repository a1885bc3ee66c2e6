"""JSON as Python's ``json`` reads it; every JSON that comes from outside is decoded here.

msgspec comes first, since it is several times as fast and reads straight into our types. It
refuses what servers do send: half a surrogate pair (from a server that cuts texts by UTF-16
units), NaN and Infinity (from servers that write JSON in Python), a byte order mark, another
encoding than UTF-8, numbers beyond a double. A paid answer is not thrown away for these.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import msgspec

__all__ = [
    "JsonError",
    "decode_text",
    "is_replaced",
    "mend",
    "mended_text",
    "python_json",
    "read_as",
    "read_json",
]

T = TypeVar("T")

_ANYTHING: Final = msgspec.json.Decoder()


class JsonError(ValueError):
    """A text is no JSON, not even for Python's ``json``, or is nested too deeply to be read."""


def read_json(data: bytes | str, *, keep_halves: bool = False) -> Any:
    """Read any JSON; lone surrogates in it become U+FFFD.

    Args:
        data: JSON, in any encoding of Unicode if these are bytes.
        keep_halves: Leave lone surrogates as they are, for the caller to mend. The two halves of
            a pair may come in two chunks of a stream, and are whole once these are joined.

    Raises:
        JsonError: It is not JSON.
    """
    return read_as(data, _ANYTHING, keep_halves=keep_halves)


def read_as(data: bytes | str, decoder: msgspec.json.Decoder[T], *, keep_halves: bool = False) -> T:
    """Read JSON into the type of *decoder*; as :func:`read_json` for the rest.

    Raises:
        JsonError: It is no JSON, or does not fit the type.
    """
    try:
        return decoder.decode(data)
    except RecursionError:
        raise JsonError(_TOO_DEEP) from None
    except (msgspec.DecodeError, UnicodeError) as error:
        refusal = error
    try:
        value = python_json(data)
    except JsonError as error:
        # Python finds its fault at the same place or later, so the first one is the clearer.
        raise (error if str(error) == _TOO_DEEP else JsonError(str(refusal))) from refusal
    if not keep_halves:
        value, _ = mend(value)
    try:
        return msgspec.convert(value, decoder.type, strict=decoder.strict)
    except (msgspec.ValidationError, RecursionError) as error:
        raise JsonError(str(error)) from error
    except UnicodeError as error:  # half a pair, where the type has no text at all
        raise JsonError(str(refusal)) from error


_TOO_DEEP: Final = "it is nested too deeply to be read"


def python_json(
    data: bytes | str, *, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Read by Python's ``json`` alone, with lone surrogates, NaN and Infinity as they are.

    Args:
        data: JSON.
        pairs: Makes a value of the members of each object; see ``json.loads``.

    Raises:
        JsonError: It is not JSON, or is nested too deeply.
    """
    text = data if isinstance(data, str) else decode_text(data)
    try:
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=pairs)
    except RecursionError:
        raise JsonError(_TOO_DEEP) from None
    except ValueError as error:
        raise JsonError(str(error)) from error


def decode_text(data: bytes) -> str:
    """Decode a body that should be JSON; bytes that no encoding has become U+FFFD."""
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:
        return data.decode(encoding, "replace")


def mend(value: T) -> tuple[T, list[str]]:
    """Replace lone surrogates in a JSON value by U+FFFD, and join pairs that were cut in two.

    Args:
        value: What ``json.loads`` gave. Its lists and dictionaries are changed in place, by a
            loop and not by recursion, so that any depth that was read can be mended.

    Returns:
        The value, and the paths of the texts that lost a half, such as ``lines[0].street``.
    """
    if _is_whole(value):
        return value, []
    holder: list[Any] = [value]
    changed: list[str] = []
    waiting: list[tuple[str, Any]] = [("", holder)]
    while waiting:
        path, part = waiting.pop()
        in_holder = part is holder
        steps: Any = list(part.items()) if isinstance(part, dict) else enumerate(part)
        for step, inner in steps:
            if isinstance(inner, str):
                text = mended_text(inner)
                part[step] = text
                if is_replaced(inner, text):
                    changed.append("" if in_holder else _below(path, step))
            elif isinstance(inner, dict | list):
                waiting.append(("" if in_holder else _below(path, step), inner))
        if isinstance(part, dict):
            _mend_keys(cast("dict[str, Any]", part), path, changed)
    return holder[0], changed


def _is_whole(value: object) -> bool:
    """Return whether there is nothing to mend: each text is ASCII, as nearly always."""
    waiting: list[Any] = [value]
    for part in waiting:  # which grows meanwhile
        kind = type(part)
        if kind is str:
            if not part.isascii():
                return False
        elif kind is dict:
            waiting += part
            waiting += part.values()
        elif kind is list:
            waiting += part
    return True


def _below(path: str, step: str | int) -> str:
    if isinstance(step, int):
        return f"{path}[{step}]"
    name = mended_text(step)
    return f"{path}.{name}" if path else name


def _mend_keys(part: dict[str, Any], path: str, changed: list[str]) -> None:
    if all(mended_text(key) is key for key in part):
        return
    members = list(part.items())
    part.clear()
    for key, inner in members:
        name = mended_text(key)
        if is_replaced(key, name):
            changed.append(_below(path, key))
        part[name] = inner


def is_replaced(text: str, mended: str) -> bool:
    """Return whether a half was lost, and not only joined to the other one."""
    return mended is not text and mended.count("\ufffd") > text.count("\ufffd")


def mended_text(text: str) -> str:
    """Replace lone surrogates by U+FFFD, and join pairs; give *text* itself if it has none."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # UTF-16 is where a high and a low half that stand side by side are one character.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
