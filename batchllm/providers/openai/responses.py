"""OpenAI's Responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from batchllm.classifiers import OpenAIErrorClassifier
from batchllm.core import ErrorClassifier, LLMResponse
from batchllm.providers.openai.responses_answer import error_of, read_response
from batchllm.providers.openai.responses_prompt import as_input
from batchllm.providers.openai.responses_stream import ResponsesStream
from batchllm.providers.wire import Endpoint, JsonDialect, JsonObject, WireModel

__all__ = ["ResponsesDialect", "ResponsesModel"]

_PARAMETERS: Final = frozenset(
    {
        "background",
        "conversation",
        "include",
        "max_tokens",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)


class ResponsesDialect(JsonDialect):
    """OpenAI's Responses, whatever carries them."""

    error_classifier: ErrorClassifier = OpenAIErrorClassifier()

    def _complete(self, request: JsonObject, prompt: Any, system: str | None) -> None:
        if self.schema is not None:
            wanted = {"type": "json_schema", **self._named_schema}
            request["text"] = {**(request.get("text") or {}), "format": wanted}
        if system:
            request["instructions"] = system
        request["input"] = as_input(prompt)

    def _reader(self) -> ResponsesStream:
        return ResponsesStream(self._peer)

    def _error_in(self, reply: JsonObject) -> object:
        return error_of(reply)

    def _answer(self, reply: JsonObject, headers: Mapping[str, str]) -> LLMResponse:
        return read_response(reply, headers, self._provider)


class ResponsesModel(ResponsesDialect, WireModel[JsonObject]):
    """One model behind OpenAI's Responses API; an ``LLMModel`` that can be shared.

    ``llm("openai-responses:…")`` makes one; ``llm("openai:…")`` speaks Chat Completions.

    Args:
        model: The provider's name of it.
        options: See ``WireOptions`` and ``ConnectionOptions``.

    Raises:
        ConfigError: A parameter or an option is unknown or of a wrong kind, or an address or key
            is missing.
    """

    endpoint: Endpoint = Endpoint(
        provider="openai",
        base_url="https://api.openai.com/v1",
        parameters=_PARAMETERS,
        wire_names=(("max_tokens", "max_output_tokens"),),
    )
    _path: ClassVar[str] = "/responses"
