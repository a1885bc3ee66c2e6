"""Gemini's settings: the names of its SDK, and the place of each on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from batchllm.providers.gemini.prompt import as_contents, as_instruction, camel_case
from batchllm.providers.wire import check_names

__all__ = ["as_cache_request", "as_request", "read_parameters"]

_OF_REQUEST: Final = frozenset(
    {
        "cached_content",
        "labels",
        "safety_settings",
        "service_tier",
        "system_instruction",
        "tool_config",
        "tools",
    }
)
_OF_GENERATION: Final = frozenset(
    {
        "audio_timestamp",
        "candidate_count",
        "frequency_penalty",
        "image_config",
        "logprobs",
        "max_output_tokens",
        "media_resolution",
        "presence_penalty",
        "response_json_schema",
        "response_logprobs",
        "response_mime_type",
        "response_modalities",
        "response_schema",
        "seed",
        "speech_config",
        "stop_sequences",
        "temperature",
        "thinking_config",
        "top_k",
        "top_p",
    }
)
_ALIASES: Final = {"max_tokens": "max_output_tokens", "stop": "stop_sequences"}
_KNOWN: Final = _OF_REQUEST | _OF_GENERATION | set(_ALIASES)


def read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters under the names of Gemini's SDK; ``None`` leaves one out.

    Raises:
        ConfigError: One is unknown.
    """
    check_names(parameters, _KNOWN, "gemini")
    found = {
        _ALIASES.get(name, name): value for name, value in parameters.items() if value is not None
    }
    if isinstance(found.get("stop_sequences"), str):
        found["stop_sequences"] = [found["stop_sequences"]]
    return found


def as_request(contents: Any, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Write the body of a request for *contents* in any shape, with settings by the SDK's names.

    Names that are not known go out as settings of the generation.
    """
    system, turns = as_contents(contents)
    request: dict[str, Any] = {"contents": turns}
    generation: dict[str, Any] = {}
    for name, value in (config or {}).items():
        if name == "system_instruction":
            system = [*as_instruction(value)["parts"], *system]
        elif name != "extra" and value is not None:
            target = request if name in _OF_REQUEST else generation
            target.update(camel_case({name: value}))
    if system:
        request["systemInstruction"] = {"parts": system}
    if generation:
        request["generationConfig"] = generation
    return request


def as_cache_request(model: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the body that makes a cache; *config* as for the SDK's ``caches.create``."""
    request: dict[str, Any] = {"model": model}
    for name, value in config.items():
        if name == "contents":
            system, turns = as_contents(value)
            request["contents"] = turns
            if system:
                request.setdefault("systemInstruction", {"parts": system})
        elif name == "system_instruction":
            request["systemInstruction"] = as_instruction(value)
        else:
            request.update(camel_case({name: value}))
    return request
