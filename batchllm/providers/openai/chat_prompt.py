"""Prompts of every shape, as the messages of a Chat Completions request."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from batchllm.providers.wire import messages_of, no_data

__all__ = ["as_messages", "data_url"]


def as_messages(prompt: Any, system: str | None) -> list[Mapping[str, Any]]:
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
    messages = messages_of(prompt, _as_part)
    return [{"role": "system", "content": system}, *messages] if system else messages


def _as_part(part: Mapping[str, Any], role: str) -> Mapping[str, Any]:
    match part["type"]:
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
        raise no_data(part)
    if data.startswith("data:"):
        return data
    return f"data:{part.get('media_type', media_type)};base64,{data}"
