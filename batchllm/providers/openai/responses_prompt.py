"""Prompts of every shape, as the input of a Responses request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchllm.providers.openai.chat_prompt import data_url
from batchllm.providers.wire import messages_of

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
    return prompt if isinstance(prompt, str) else messages_of(prompt, _as_part, _is_item)


def _is_item(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and (kind == "reasoning" or kind.endswith(("_call", "_output")))


def _as_part(part: Mapping[str, Any], role: str) -> Mapping[str, Any]:
    match part["type"]:
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
        case _:
            return part


def _file(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if "file_id" in part:
        return {"file_id": part["file_id"]}
    if "url" in part:
        return {"file_url": part["url"]}
    name = part.get("filename", "file")
    return {"filename": name, "file_data": data_url(part, "application/pdf")}
