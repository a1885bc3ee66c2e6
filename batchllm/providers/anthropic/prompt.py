"""Prompts of every shape, as the system text and the messages of Anthropic's Messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from batchllm.providers.wire import parts_of, read_media

__all__ = ["as_system_and_messages"]

_SYSTEM_ROLES: Final = frozenset({"system", "developer"})


def as_system_and_messages(
    prompt: Any, system: str | None
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return the blocks of the system prompt, and the messages.

    Args:
        prompt: A text, chat messages, or content parts (one user message). Messages with the
            role ``"system"`` go to the system prompt, since the wire has no such role. Parts
            are those of the chat wire; a part of a type that only Anthropic knows goes out as
            it is, and any part may carry ``cache_control``.
        system: Put first, if there is one.

    Raises:
        ValueError: The prompt has another shape, or a part lacks what it needs.
    """
    blocks: list[Mapping[str, Any]] = [{"type": "text", "text": system}] if system else []
    if isinstance(prompt, str):
        return blocks, [{"role": "user", "content": prompt}]
    parts = parts_of(prompt)
    if "role" not in parts[0]:
        return blocks, [{"role": "user", "content": [_as_block(part) for part in parts]}]
    messages: list[Mapping[str, Any]] = []
    for index, message in enumerate(parts):
        if "role" not in message:
            msg = f"message {index} has no role; a prompt is either messages or content parts"
            raise ValueError(msg)
        content = _as_content(message.get("content"))
        if message["role"] not in _SYSTEM_ROLES:
            messages.append({**message, "content": content})
        elif isinstance(content, str):
            blocks.append({"type": "text", "text": content})
        else:
            blocks += content
    return blocks, messages


def _as_content(content: Any) -> str | list[Mapping[str, Any]]:
    if isinstance(content, str):
        return content
    return [_as_block(part) for part in parts_of(content)]


def _as_block(part: Mapping[str, Any]) -> Mapping[str, Any]:
    match part.get("type"):
        case "image" if "source" not in part:
            return _with_source(part, "image", "image/png")
        case "file":
            return _with_source(part, "document", "application/pdf")
        case None:
            msg = f"a content part has no type; its keys are {sorted(part)}"
            raise ValueError(msg)
        case _:
            return part


def _with_source(part: Mapping[str, Any], kind: str, media_type: str) -> Mapping[str, Any]:
    block: dict[str, Any] = {"type": kind, "source": _source(part, media_type)}
    if kind == "document" and "filename" in part:
        block["title"] = part["filename"]
    if "cache_control" in part:
        block["cache_control"] = part["cache_control"]
    return block


def _source(part: Mapping[str, Any], media_type: str) -> Mapping[str, Any]:
    if "file_id" in part:
        return {"type": "file", "file_id": part["file_id"]}
    url = part.get("url")
    if isinstance(url, str) and not url.startswith("data:"):
        return {"type": "url", "url": url}
    media = read_media(part, media_type)
    # Bytes become base64 when the request is encoded.
    return {"type": "base64", "media_type": media.media_type, "data": media.data}
