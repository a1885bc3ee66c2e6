"""Prompts and cached contents of every shape, as Gemini's contents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from batchllm.providers.wire import read_media

__all__ = ["as_contents", "as_instruction", "camel_case", "camel_name"]

_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
# What is below them is the user's own, and its names are not ours to change.
_OPAQUE: Final = frozenset(
    {
        "args",
        "labels",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
        "responseSchema",
    }
)


def as_contents(prompt: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the parts of the system instruction that *prompt* brings along, and its contents.

    Args:
        prompt: A text, chat messages, content parts of the chat wire, or what Gemini's own SDK
            takes: ``Content`` and ``Part`` as objects or mappings, and lists of any of these.
            Texts and parts that follow each other are one user turn. Data stays bytes.

    Raises:
        ValueError: It is something else, empty, or a part lacks what it needs.
    """
    system: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] = []
    loose: list[dict[str, Any]] | None = None
    for item in _items(prompt):
        role, parts = _read(item)
        if role in _SYSTEM_ROLES:
            system += parts
        elif role is not None:
            contents.append({"role": "model" if role == "assistant" else role, "parts": parts})
            loose = None
        elif loose is None:
            loose = list(parts)
            contents.append({"role": "user", "parts": loose})
        else:
            loose += parts
    if not contents and not system:
        msg = "the prompt is empty; give a text, a list of messages or a list of content parts"
        raise ValueError(msg)
    return system, contents


def as_instruction(instruction: Any) -> dict[str, Any]:
    """Return a system instruction, in any shape that a prompt may have, as one content."""
    system, contents = as_contents(instruction)
    return {"parts": [*system, *(part for content in contents for part in content["parts"])]}


def camel_case(value: Any) -> Any:
    """Name the fields of *value* as the wire does, with SDK objects as mappings."""
    value = _plain(value)
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        renamed = ((camel_name(name), inner) for name, inner in fields.items() if inner is not None)
        return {name: inner if name in _OPAQUE else camel_case(inner) for name, inner in renamed}
    if isinstance(value, (list, tuple)):
        return [camel_case(inner) for inner in cast("Sequence[Any]", value)]
    return value


def camel_name(name: str) -> str:
    """Return the name of a field as the wire has it."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else value


def _items(prompt: Any) -> Iterator[Any]:
    if isinstance(prompt, (list, tuple)):
        yield from cast("Sequence[Any]", prompt)
    else:
        yield prompt


def _read(item: Any) -> tuple[str | None, list[dict[str, Any]]]:
    """Return the role of a turn and its parts; a loose part has no role."""
    item = _plain(item)
    if isinstance(item, str):
        return None, [{"text": item}]
    if isinstance(item, Mapping):
        fields = cast("Mapping[str, Any]", item)
        if "parts" in fields:
            return fields.get("role") or "user", _parts(fields["parts"])
        if "role" in fields:
            return fields["role"], _parts(fields.get("content") or "")
        return None, [_as_part(fields)]
    if hasattr(item, "parts"):
        return getattr(item, "role", None) or "user", _parts(item.parts)
    if isinstance(getattr(item, "text", None), str):
        return None, [{"text": item.text}]
    msg = (
        f"a {type(item).__name__} in the prompt; give texts, chat messages ({{'role': …, "
        "'content': …}), content parts ({'type': 'text', 'text': …}), or the Content and Part of "
        "google.genai"
    )
    raise ValueError(msg)


def _parts(content: Any) -> list[dict[str, Any]]:
    return [part for item in _items(content) for part in _read(item)[1]]


def _as_part(part: Mapping[str, Any]) -> dict[str, Any]:
    match part.get("type"):
        case "text":
            return {"text": part.get("text", "")}
        case "image":
            return _with_data(part, "image/png")
        case "file":
            return _with_data(part, "application/pdf")
        case None if "content" in part:
            msg = f"a message has no role; its keys are {sorted(part)}"
            raise ValueError(msg)
        case _:
            return cast("dict[str, Any]", camel_case(part))


def _with_data(part: Mapping[str, Any], media_type: str) -> dict[str, Any]:
    address = part.get("url") or part.get("file_id")
    if isinstance(address, str) and not address.startswith("data:"):
        kind = {"mimeType": part["media_type"]} if "media_type" in part else {}
        return {"fileData": {"fileUri": address, **kind}}
    media = read_media(part, media_type)
    return {"inlineData": {"mimeType": media.media_type, "data": media.data}}
