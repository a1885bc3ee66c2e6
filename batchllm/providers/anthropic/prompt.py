"""Prompts of every shape, as the system text and the messages of Anthropic's Messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from batchllm.providers.wire import messages_of, parts_of, read_media

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
    messages: list[Mapping[str, Any]] = []
    for message in messages_of(prompt, _as_block):
        content = message.get("content")
        if message["role"] not in _SYSTEM_ROLES:
            messages.append(message)
        elif isinstance(content, str):
            blocks.append({"type": "text", "text": content})
        else:
            blocks += parts_of(content)
    return blocks, messages


def _as_block(part: Mapping[str, Any], role: str) -> Mapping[str, Any]:
    match part["type"]:
        case "image" if "source" not in part:
            return _with_source(part, "image", "image/png")
        case "file":
            return _with_source(part, "document", "application/pdf")
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
