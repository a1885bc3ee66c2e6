"""Prompts of every shape, as the input of a Responses request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchllm.providers.openai.chat_prompt import data_url
from batchllm.providers.wire import parts_of

__all__ = ["as_input"]


def as_input(prompt: Any) -> str | list[Mapping[str, Any]]:
    """Return the input for *prompt*.

    Args:
        prompt: A text, chat messages, or content parts (one user message). Parts are those of
            the chat wire, and a part or an item of a type that only Responses knows goes out as
            it is.

    Raises:
        ValueError: The prompt has another shape, or a part lacks what it needs.
    """
    if isinstance(prompt, str):
        return prompt
    parts = parts_of(prompt)
    if "role" in parts[0] or _is_item(parts[0]):
        return [_as_item(part, index) for index, part in enumerate(parts)]
    return [{"role": "user", "content": [_as_part(part, "user") for part in parts]}]


def _is_item(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and (kind == "reasoning" or kind.endswith(("_call", "_output")))


def _as_item(message: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    if "role" not in message:
        if _is_item(message):
            return message
        msg = f"message {index} has no role; a prompt is either messages or content parts"
        raise ValueError(msg)
    role, content = message["role"], message.get("content")
    if isinstance(content, str):
        return message
    return {**message, "content": [_as_part(part, role) for part in parts_of(content)]}


def _as_part(part: Mapping[str, Any], role: str) -> Mapping[str, Any]:
    match part.get("type"):
        case "text":
            kind = "output_text" if role == "assistant" else "input_text"
            return {"type": kind, "text": part.get("text", "")}
        case "image":
            image = {
                "type": "input_image",
                "image_url": part.get("url") or data_url(part, "image/png"),
            }
            return image if "detail" not in part else {**image, "detail": part["detail"]}
        case "file":
            return {"type": "input_file", **_file(part)}
        case None:
            msg = f"a content part has no type; its keys are {sorted(part)}"
            raise ValueError(msg)
        case _:
            return part


def _file(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if "file_id" in part:
        return {"file_id": part["file_id"]}
    if "url" in part:
        return {"file_url": part["url"]}
    name = part.get("filename", "file")
    return {"filename": name, "file_data": data_url(part, "application/pdf")}
