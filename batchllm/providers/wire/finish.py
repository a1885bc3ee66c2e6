"""Reasons why an answer ended, in one vocabulary for every provider."""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["Finish", "normalize_finish"]

Finish = Literal["stop", "length", "filtered", "tool", "error", "unknown"]

_WORDS: Final[dict[str, Finish]] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "incomplete": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "filtered",
    "content_filtered": "filtered",
    "safety": "filtered",
    "recitation": "filtered",
    "blocklist": "filtered",
    "prohibited_content": "filtered",
    "spii": "filtered",
    "language": "filtered",
    "image_safety": "filtered",
    "image_prohibited_content": "filtered",
    "image_recitation": "filtered",
    "jailbreak": "filtered",
    "model_armor": "filtered",
    "refusal": "filtered",
    "guardrail_intervened": "filtered",
    "tool_calls": "tool",
    "tool_use": "tool",
    "function_call": "tool",
    "error": "error",
    "failed": "error",
    "abort": "error",
    "other": "error",
    "no_image": "error",
    "image_other": "error",
    "unexpected_tool_call": "error",
    "too_many_tool_calls": "error",
    "insufficient_system_resource": "error",
}


def normalize_finish(reason: object) -> Finish:
    """Read a provider's finish reason; one that is not known yet is ``"unknown"``."""
    if isinstance(reason, (dict, list)):
        return "unknown"
    word = str(reason).lower()
    if word.startswith("malformed"):
        return "error"
    return _WORDS.get(word, "unknown")
