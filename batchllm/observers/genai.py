"""Attributes by OpenTelemetry's semantic conventions for generative AI, and one of our own.

The conventions are still incubating and move between packages, so their names are copied here:
https://github.com/open-telemetry/semantic-conventions-genai, as of version 1.41.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

from attrs import define, field, frozen

from batchllm.classifiers import status_of
from batchllm.core import (
    CallEnd,
    FrameworkTimeoutError,
    LLMCallStrategy,
    ProviderError,
    TransportError,
    WorkItemResult,
)

__all__ = [
    "OUTCOME",
    "CallFacts",
    "FactsOfStrategies",
    "answer_attributes",
    "error_type",
    "input_messages",
    "outcome_of",
    "output_messages",
    "safe_message",
    "system_instructions",
]

Attributes = dict[str, Any]

OUTCOME: Final = "batchllm.item.outcome"
"""The attribute for how an item ended, by which spans are found that a metric counts."""

_PROVIDERS: Final = {"azure": "azure.ai.openai", "gemini": "gcp.gemini", "mistral": "mistral_ai"}
"""The conventions' names of providers that have another one here."""

_REQUEST: Final = {
    "frequency_penalty": "frequency_penalty",
    "frequencyPenalty": "frequency_penalty",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "maxOutputTokens": "max_tokens",
    "max_tokens": "max_tokens",
    "n": "choice.count",
    "presence_penalty": "presence_penalty",
    "presencePenalty": "presence_penalty",
    "seed": "seed",
    "temperature": "temperature",
    "top_k": "top_k",
    "topK": "top_k",
    "top_p": "top_p",
    "topP": "top_p",
}
"""Parameters of providers, by the name behind ``gen_ai.request.``; values are numbers."""

_USAGE: Final = (
    ("input_tokens", "gen_ai.usage.input_tokens"),
    ("output_tokens", "gen_ai.usage.output_tokens"),
    ("cached_input_tokens", "gen_ai.usage.cache_read.input_tokens"),
    ("cache_write_tokens", "gen_ai.usage.cache_creation.input_tokens"),
    ("reasoning_tokens", "gen_ai.usage.reasoning.output_tokens"),
)
_MOST_STRATEGIES: Final = 256
"""Strategies whose facts are kept; a program may make one for each item."""


@frozen
class CallFacts:
    """The facts about every call of one strategy.

    Attributes:
        name: The name of its spans, such as ``chat gpt-5-mini``.
        common: Attributes of its metrics and its spans.
        request: Further ones of its spans.
    """

    name: str
    common: Mapping[str, Any]
    request: Mapping[str, Any]

    @classmethod
    def of(cls, strategy: LLMCallStrategy[Any]) -> CallFacts:
        """Read them from what names the strategy in records, which has no secrets."""
        try:
            names = strategy.identity()
        except Exception:  # a user's own; its spans then name less
            names = {}
        found: Any = names.get("model")
        model: Mapping[str, Any] = found if isinstance(found, Mapping) else names
        scope = strategy.quota_scope
        provider = model.get("provider") or (scope.provider if scope else None) or "common"
        name = model.get("model")
        operation = _operation_of(strategy, provider)
        common: Attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _PROVIDERS.get(provider, provider),
        }
        if isinstance(name, str):
            common["gen_ai.request.model"] = name
        common |= _server_of(model.get("base_url"))
        title = f"{operation} {name}" if isinstance(name, str) else operation
        return cls(title, common, _request_of(model, names))


def _operation_of(strategy: LLMCallStrategy[Any], provider: str) -> str:
    if strategy.takes_texts:
        return "embeddings"
    return "generate_content" if provider == "gemini" else "chat"


def _server_of(address: Any) -> Attributes:
    try:
        url = urlsplit(address if isinstance(address, str) else "")
        host, port = url.hostname, url.port
    except ValueError:
        return {}
    if not host:
        return {}
    port = port or {"http": 80, "https": 443}.get(url.scheme)
    return {"server.address": host} | ({"server.port": port} if port else {})


def _request_of(model: Mapping[str, Any], strategy: Mapping[str, Any]) -> Attributes:
    given: dict[str, Any] = {**model.get("parameters", {}), **strategy.get("config", {})}
    if strategy.get("temperature") is not None:
        given["temperature"] = strategy["temperature"]
    found: Attributes = {
        f"gen_ai.request.{_REQUEST[name]}": value
        for name, value in given.items()
        if name in _REQUEST and isinstance(value, int | float) and not isinstance(value, bool)
    }
    if model.get("schema") is not None:
        found["gen_ai.output.type"] = "json"
    return found


@define(eq=False)
class FactsOfStrategies:
    """Keeps the facts about strategies, by instance."""

    _known: dict[int, tuple[LLMCallStrategy[Any], CallFacts]] = field(factory=dict, init=False)

    def of(self, strategy: LLMCallStrategy[Any]) -> CallFacts:
        """Return the facts about *strategy*."""
        known = self._known.get(id(strategy))
        if known is None:
            if len(self._known) >= _MOST_STRATEGIES:
                self._known.clear()
            # With the strategy, so that its number does not become that of another one.
            known = self._known[id(strategy)] = (strategy, CallFacts.of(strategy))
        return known[1]


def answer_attributes(end: CallEnd) -> Attributes:
    """Return what the conventions say of an answer: its model, id, ending and tokens."""
    found: Attributes = {}
    said = end.metadata or {}
    for name, attribute in (("model", "model"), ("response_id", "id")):
        if isinstance(value := said.get(name), str):
            found[f"gen_ai.response.{attribute}"] = value
    if isinstance(finish := said.get("finish_reason"), str):
        found["gen_ai.response.finish_reasons"] = (finish,)
    usage = cast("Mapping[str, int]", end.usage or {})
    found |= {attribute: usage[name] for name, attribute in _USAGE if name in usage}
    return found


def outcome_of(result: WorkItemResult[Any, Any] | None) -> str:
    """Return how an item ended; without a result it was cancelled."""
    if result is None:
        return "cancelled"
    return "answered" if result.success else str(result.error_category)


def error_type(error: BaseException) -> str:
    """Return the class of *error* by the conventions: its HTTP status, or its type."""
    status = status_of(error)
    if status is not None:
        return str(status)
    kind = type(error)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def safe_message(error: BaseException) -> str | None:
    """Return the message of *error*, unless it may quote a prompt or an answer.

    What a provider or the connection says is worth its place. What a parser of answers says
    quotes the answer as a rule.
    """
    speaks = (ProviderError, TransportError, FrameworkTimeoutError)
    return str(error) if isinstance(error, speaks) else None


def input_messages(prompt: Any) -> str:
    """Return *prompt* as the conventions have it, in JSON: messages with a role and parts."""
    given: Any = prompt if isinstance(prompt, list | tuple) else [prompt]
    if not all(isinstance(one, Mapping) and "role" in one for one in given):
        return _json([{"role": "user", "parts": [_part(one) for one in given]}])
    return _json([{"role": one["role"], "parts": _parts(one.get("content", one))} for one in given])


def system_instructions(text: str) -> str:
    """Return a system instruction as the conventions have it, in JSON."""
    return _json([_part(text)])


def output_messages(end: CallEnd) -> str:
    """Return the output of a call as the conventions have it, in JSON."""
    message = {"role": "assistant", "parts": [_part(end.output)]}
    finish = (end.metadata or {}).get("finish_reason")
    return _json([message | ({"finish_reason": finish} if finish else {})])


def _parts(content: Any) -> list[Mapping[str, Any]]:
    given: list[Any] = content if isinstance(content, list) else [content]
    return [_part(one) for one in given]


def _part(content: Any) -> Mapping[str, Any]:
    if isinstance(content, Mapping) and isinstance(text := content.get("text"), str):
        content = text
    return {"type": "text", "content": content if isinstance(content, str) else _json(content)}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
