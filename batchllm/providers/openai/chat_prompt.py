"""Prompts of every shape, as the messages of a Chat Completions request."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from batchllm.providers.wire import parts_of

__all__ = ["as_messages", "data_url"]


def as_messages(prompt: Any, system: str | None) -> list[dict[str, Any]]:
    """Return the messages for *prompt*.

    Args:
        prompt: A text, chat messages, or content parts (one user message). Parts are
            ``{"type": "text", "text": …}``, ``{"type": "image", "url": …}``,
            ``{"type": "image" | "file", "data": bytes or base64, "media_type": …}`` and
            ``{"type": "file", "file_id": …}``; a part of another type goes out as it is.
        system: Put first, if there is one.

    Raises:
        ValueError: The prompt has another shape, or a part lacks what it needs.
    """
    messages: list[dict[str, Any]] = []
    if system:
        messages.append({"role": "system", "content": system})
    if isinstance(prompt, str):
        messages.append({"role": "user", "content": prompt})
        return messages
    parts = parts_of(prompt)
    if "role" not in parts[0]:
        messages.append({"role": "user", "content": [_as_wire_part(part) for part in parts]})
        return messages
    messages += [_as_wire_message(message, index) for index, message in enumerate(parts)]
    return messages


def _as_wire_message(message: Mapping[str, Any], index: int) -> dict[str, Any]:
    if "role" not in message:
        msg = f"message {index} has no role; a prompt is either messages or content parts"
        raise ValueError(msg)
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        return {**message, "content": [_as_wire_part(part) for part in parts_of(content)]}
    return dict(message)


def _as_wire_part(part: Mapping[str, Any]) -> Mapping[str, Any]:
    match part.get("type"):
        case "image":
            image = {"url": part.get("url") or data_url(part, "image/png")}
            if "detail" in part:
                image["detail"] = part["detail"]
            return {"type": "image_url", "image_url": image}
        case "file" if "file" not in part:
            if "file_id" in part:
                return {"type": "file", "file": {"file_id": part["file_id"]}}
            name = part.get("filename", "file")
            data = data_url(part, "application/pdf")
            return {"type": "file", "file": {"filename": name, "file_data": data}}
        case None:
            msg = f"a content part has no type; its keys are {sorted(part)}"
            raise ValueError(msg)
        case _:
            return part


def data_url(part: Mapping[str, Any], media_type: str) -> str:
    """Return the data of an image or file part as a ``data:`` URL.

    Raises:
        ValueError: The part has no data.
    """
    data = part.get("data")
    if isinstance(data, (bytes, bytearray, memoryview)):
        data = base64.b64encode(data).decode()
    if not isinstance(data, str) or not data:
        msg = (
            f"a part of type {part.get('type')!r} has no data; give data (bytes or base64) and "
            "media_type, or a url"
        )
        raise ValueError(msg)
    if data.startswith("data:"):
        return data
    return f"data:{part.get('media_type', media_type)};base64,{data}"
