"""mocklimit's two files: the limits of three vendors, and replies in each vendor's own shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from attrs import frozen

__all__ = ["Anthropic", "Gemini", "MockLimits", "OpenAI", "write_files"]


@frozen(kw_only=True)
class OpenAI:
    """Fixed windows, which begin on whole multiples of their length, with OpenAI's headers."""

    requests: int = 100
    tokens: int = 20_000
    window: float = 5.0


@frozen(kw_only=True)
class Anthropic:
    """Token buckets as deep as what they gain in a second (times *depth*), Anthropic's headers."""

    requests: float = 20.0
    input_tokens: float = 2_000.0
    output_tokens: float = 20_000.0
    depth: float = 1.0


@frozen(kw_only=True)
class Gemini:
    """Sliding windows without a header on an answer; only a refusal says when to come back."""

    requests: int = 60
    input_tokens: int = 10_000
    window: float = 5.0


@frozen(kw_only=True)
class MockLimits:
    """The limits that one mocklimit server enforces, per key."""

    openai: OpenAI = OpenAI()
    anthropic: Anthropic = Anthropic()
    gemini: Gemini = Gemini()


# One reply for each path; mocklimit replaces `usage` by its own {"requests": 1, "tokens": N}.
_REPLIES: Final[dict[str, dict[str, Any]]] = {
    "/v1/chat/completions": {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "mock",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "An answer."},
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    },
    "/v1/messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "mock",
        "content": [{"type": "text", "text": "An answer."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 20},
    },
    "/v1beta/models/{model}:generateContent": {
        "candidates": [
            {
                "index": 0,
                "finishReason": "STOP",
                "content": {"role": "model", "parts": [{"text": "An answer."}]},
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 20,
            "totalTokenCount": 30,
        },
        "modelVersion": "mock",
    },
}
_POLICIES: Final = dict(zip(_REPLIES, ("openai", "anthropic", "gemini"), strict=True))


def write_files(limits: MockLimits, folder: Path) -> tuple[Path, Path]:
    """Write the description of the replies and of the limits; JSON is YAML, too."""
    api, rates = folder / "api.yaml", folder / "limits.yaml"
    api.write_text(json.dumps(_api()))
    rates.write_text(json.dumps(_rates(limits)))
    return api, rates


def _api() -> dict[str, Any]:
    return {
        "openapi": "3.0.3",
        "info": {"title": "Three LLM APIs", "version": "1"},
        "paths": {path: {"post": _operation(path, reply)} for path, reply in _REPLIES.items()},
    }


def _operation(path: str, reply: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": _schema_of(reply)}}
    operation: dict[str, Any] = {"responses": {"200": {"description": "ok", "content": content}}}
    if "{model}" in path:
        text = {"type": "string"}
        operation["parameters"] = [
            {"name": "model", "in": "path", "required": True, "schema": text}
        ]
    return operation


def _schema_of(value: Any) -> dict[str, Any]:
    """Return the schema for which mocklimit makes up exactly *value*: each leaf has one choice."""
    match value:
        case dict():
            properties = {name: _schema_of(part) for name, part in value.items()}
            return {"type": "object", "properties": properties}
        case [only]:
            return {"type": "array", "items": _schema_of(only)}
        case int():
            return {"type": "integer", "enum": [value]}
        case _:
            return {"type": "string", "enum": [value]}


def _rates(limits: MockLimits) -> dict[str, Any]:
    return {
        "policies": {
            "openai": _openai(limits.openai),
            "anthropic": _anthropic(limits.anthropic),
            "gemini": _gemini(limits.gemini),
        },
        "endpoints": {path: _endpoint(policy) for path, policy in _POLICIES.items()},
    }


def _openai(limits: OpenAI) -> dict[str, Any]:
    amounts = {"requests": limits.requests, "tokens": limits.tokens}
    return {
        "strategy": "fixed_window",
        "scope": "api_key",
        "limits": [
            {
                "dimension": name,
                "limit": amount,
                "window_seconds": limits.window,
                "headers": {
                    part: f"x-ratelimit-{part}-{name}" for part in ("limit", "remaining", "reset")
                },
            }
            for name, amount in amounts.items()
        ],
        "format": {
            "reset": "go_duration",
            "retry_after": {"header": "retry-after-ms", "unit": "milliseconds"},
        },
        "error_template": {"provider": "openai"},
    }


def _anthropic(limits: Anthropic) -> dict[str, Any]:
    rates = {
        ("requests", "requests"): limits.requests,
        ("tokens.input", "input-tokens"): limits.input_tokens,
        ("tokens.output", "output-tokens"): limits.output_tokens,
    }
    return {
        "strategy": "token_bucket",
        "scope": "api_key",
        "limits": [
            {
                "dimension": dimension,
                "capacity": int(rate * limits.depth),
                "refill_rate": rate,
                "headers": {
                    part: f"anthropic-ratelimit-{name}-{part}"
                    for part in ("limit", "remaining", "reset")
                },
            }
            for (dimension, name), rate in rates.items()
        ],
        "format": {
            "reset": "rfc3339",
            "retry_after": {"header": "retry-after", "unit": "seconds"},
        },
        "error_template": {"provider": "anthropic"},
    }


def _gemini(limits: Gemini) -> dict[str, Any]:
    amounts = {"requests": limits.requests, "tokens.input": limits.input_tokens}
    return {
        "strategy": "sliding_window",
        "scope": "api_key",
        "limits": [
            {"dimension": dimension, "limit": amount, "window_seconds": limits.window}
            for dimension, amount in amounts.items()
        ],
        "error_template": {"provider": "google"},
    }


def _endpoint(policy: str) -> dict[str, Any]:
    """Return what a call costs and how long it takes: 45-200 ms, 0.12 s in the mean."""
    return {
        "methods": ["POST"],
        "policy": policy,
        "resources": {
            "requests": {
                "input": {"strategy": "fixed", "value": 1},
                "output": {"strategy": "fixed", "value": 0},
            },
            "tokens": {
                "input": {"strategy": "characters_div_4"},
                "output": {"strategy": "random", "range": [50, 200]},
            },
        },
        "timing": {
            "base_ms": [20, 100],
            "scale": {"resource": "tokens", "component": "output", "ms_per_unit": 0.5},
        },
    }
