"""The identity of items: the key, the digest of the prompt, and the strategy."""

from __future__ import annotations

import hashlib
import json
from array import array
from bisect import bisect_left
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias, cast

import msgspec
from attrs import define, field

from batchllm.core import encodable

__all__ = [
    "ItemKey",
    "Occurrences",
    "canonical_identity",
    "changing",
    "differences",
    "digest_of",
    "id_of_key",
    "key_of_id",
    "nameless",
    "without",
]

_DIGEST_BYTES = 16
"""128 bits: a billion prompts collide with a probability of 10⁻²¹."""
_SHARDS = 512
_SHOWN = 60
"""Characters of a value in the words about a difference."""

ItemKey: TypeAlias = tuple[str, str]
"""Source and key. The key of an item with an id begins with ``=``, of one without with ``#``."""


def key_of_id(source: str, item_id: str) -> ItemKey:
    """Return the key of an item that has an id of its own."""
    return source, f"={item_id}"


def id_of_key(key: ItemKey) -> str | None:
    """Return the item's own id, ``None`` for an item that had none."""
    return key[1][1:] if key[1].startswith("=") else None


def digest_of(prompt: object, salt: bytes) -> bytes | None:
    """Digest a prompt as it was submitted.

    Args:
        prompt: A text, chat messages or content parts.
        salt: The journal's own key, so that digests of two journals cannot be compared.

    Returns:
        16 bytes; ``None`` for a prompt without a canonical form, such as one that holds an object.
    """
    if type(prompt) is str:
        # The first byte keeps a text apart from messages that would be written the same.
        data = b"t" + prompt.encode("utf-8", "surrogatepass")
    else:
        try:
            data = b"m" + msgspec.json.encode(prompt, order="deterministic")
        except (TypeError, ValueError, RecursionError):
            return None
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES, key=salt).digest()


@define(eq=False)
class Occurrences:
    """Numbers equal prompts, so that items without an id are found again.

    It keeps 8 bytes of each digest in sorted arrays of some thousand, and a count only of those
    that came again: 10 MB for a million prompts, where a dictionary takes 100.
    """

    _shards: dict[int, array[int]] = field(factory=dict, init=False)
    _again: dict[bytes, int] = field(factory=dict, init=False)

    def key(self, source: str, digest: bytes) -> ItemKey:
        """Return the key of the next item of *source* with this prompt."""
        code = int.from_bytes(digest[:8], "little")
        if source:
            code ^= hash(source) & 0xFFFF_FFFF_FFFF_FFFF
        shard = self._shards.get(code % _SHARDS)
        if shard is None:
            shard = self._shards[code % _SHARDS] = array("Q")
        place = bisect_left(shard, code)
        if place == len(shard) or shard[place] != code:
            shard.insert(place, code)
            return source, f"#{digest.hex()}.0"
        name = source.encode("utf-8", "surrogatepass") + digest
        count = self._again[name] = self._again.get(name, 0) + 1
        return source, f"#{digest.hex()}.{count}"


def changing(before: Any, now: Any) -> set[str]:
    """Name the fields by which two identities of one strategy differ, taken before and after a run.

    What a run changes is state, such as a count of calls, and no setting.

    Returns:
        Names such as ``module.Class.field``; nothing of fields that came or went.
    """
    found: set[str] = set()
    if isinstance(before, dict) and isinstance(now, dict):
        old, new = cast("dict[str, Any]", before), cast("dict[str, Any]", now)
        for name in old.keys() & new.keys():
            if isinstance(old[name], dict | list):
                found |= changing(old[name], new[name])
            elif old[name] != new[name]:
                found.add(f"{old.get('class')}.{name}")
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for one, other in zip(before, now, strict=True):
            found |= changing(one, other)
    return found


def without(identity: Any, fields: Collection[str]) -> Any:
    """Leave *fields*, as :func:`changing` names them, out of an identity."""
    if isinstance(identity, dict):
        parts = cast("dict[str, Any]", identity)
        kind = parts.get("class")
        return {
            name: without(value, fields)
            for name, value in parts.items()
            if f"{kind}.{name}" not in fields
        }
    if isinstance(identity, list):
        return [without(part, fields) for part in identity]
    return identity


def canonical_identity(identity: Mapping[str, Any]) -> str:
    """Write a strategy's ``identity()`` as canonical JSON: keys sorted, no spaces.

    A value without a form in JSON is written by the name of its type, so that an object's address
    never makes two runs differ. What is not set is left out, so that a setting that a later version
    adds changes no identity before it is used.
    """
    text = json.dumps(
        _set(identity), sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_name_of
    )
    return encodable(text)  # as JSON itself spells half of a surrogate pair


def _set(value: Any) -> Any:
    """Leave out what is ``None`` or an empty mapping."""
    if isinstance(value, Mapping):
        parts = {name: _set(part) for name, part in cast("Mapping[str, Any]", value).items()}
        return {name: part for name, part in parts.items() if part is not None and part != {}}
    if isinstance(value, list | tuple):
        return [_set(part) for part in cast("list[Any]", value)]
    return value


def _name_of(value: object) -> str:
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return f"{getattr(value, '__module__', '')}.{name}"
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def nameless(identity: Any) -> str | None:
    """Find a function in an identity that another run could not know again, if there is one.

    A lambda, and a function within another, have no name of their own; ``version`` gives one.
    """
    if isinstance(identity, dict):
        parts = cast("dict[str, Any]", identity)
        function = parts.get("function")
        if isinstance(function, str) and "<" in function and "version" not in parts:
            return function
        identity = list(parts.values())
    if isinstance(identity, list | tuple):
        found = (nameless(part) for part in cast("list[Any]", identity))
        return next((name for name in found if name is not None), None)
    return None


def differences(before: str, now: str) -> str:
    """Say how two canonical identities differ, such as ``temperature 0 → 0.2``."""
    found = list(_compare("", json.loads(before), json.loads(now)))
    return "; ".join(found) or "no field that can be named"


def _compare(path: str, before: Any, now: Any) -> list[str]:
    if before is None and isinstance(now, dict):
        before = {}  # left out, since nothing was set in it
    elif now is None and isinstance(before, dict):
        now = {}
    if isinstance(before, dict) and isinstance(now, dict):
        old, new = cast("dict[str, Any]", before), cast("dict[str, Any]", now)
        found: list[str] = []
        for name in sorted(old.keys() | new.keys()):
            inner = f"{path}.{name}" if path else name
            found += _compare(inner, old.get(name), new.get(name))
        return found
    return [] if before == now else [f"{path or 'identity'} {_short(before)} → {_short(now)}"]


def _short(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
