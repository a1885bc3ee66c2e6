"""OpenAI's Responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from batchllm.classifiers import OpenAIErrorClassifier
from batchllm.core import ErrorClassifier, LLMResponse
from batchllm.providers.openai.responses_prompt import as_input
from batchllm.providers.openai.responses_stream import ResponsesStream
from batchllm.providers.wire import (
    Endpoint,
    Finish,
    JsonModel,
    JsonObject,
    as_parts,
    check_answered,
    error_within,
    joined,
    make_response,
    malformed,
    mapping_of,
    mappings_of,
    normalize_finish,
)

__all__ = ["ResponsesModel"]

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
_UNFINISHED: Final = frozenset({"in_progress", "queued", "cancelled"})


class ResponsesModel(JsonModel):
    """One model behind OpenAI's Responses API. See ``WireModel`` for the arguments.

    ``llm("openai-responses:…")`` makes one; ``llm("openai:…")`` speaks Chat Completions.
    """

    endpoint: Endpoint = Endpoint(
        provider="openai",
        base_url="https://api.openai.com/v1",
        parameters=_PARAMETERS,
        wire_names=(("max_tokens", "max_output_tokens"),),
    )
    error_classifier: ErrorClassifier = OpenAIErrorClassifier()
    _path: ClassVar[str] = "/responses"

    def _complete(self, request: JsonObject, prompt: Any, system: str | None) -> None:
        if self.schema is not None:
            wanted = {
                "type": "json_schema",
                "name": self._schema_name,
                "strict": self._schema_is_strict,
                "schema": self.schema,
            }
            request["text"] = {**(request.get("text") or {}), "format": wanted}
        if system:
            request["instructions"] = system
        request["input"] = as_input(prompt)

    def _reader(self) -> ResponsesStream:
        return ResponsesStream(self._client)

    def _error_in(self, reply: JsonObject) -> object:
        if not reply.get("error") and reply.get("status") == "failed":
            return {"error": {"code": "server_error", "message": "the response failed"}}
        return error_within(reply, answered=reply.get("output") is not None)

    def _answer(self, reply: JsonObject, headers: Mapping[str, str]) -> LLMResponse:
        usage, status = self._usage(reply), reply.get("status")
        items = mappings_of(reply.get("output"))
        if status in _UNFINISHED or (status is None and not items):
            msg = f"openai answered with a response that is not complete: {status!r}"
            raise malformed(msg, usage, headers)
        contents = [
            part
            for item in items
            if item.get("type") == "message"
            for part in as_parts(item.get("content"), "output_text")
        ]
        tools = [item for item in items if str(item.get("type")).endswith("function_call")]
        refusal = joined(contents, "refusal", "refusal")
        reason = mapping_of(reply.get("incomplete_details")).get("reason") or status
        response = make_response(
            joined(contents, "output_text", "text"),
            finish=_finish(reason, bool(tools)),
            usage=usage,
            headers=headers,
            raw=reply,
            metadata={
                "provider_finish_reason": reason,
                "response_id": reply.get("id"),
                "model": reply.get("model"),
                "service_tier": reply.get("service_tier"),
                "tool_calls": tools or None,
                "refusal": refusal or None,
                "reasoning": _summary(items) or None,
            },
        )
        check_answered(response, self.endpoint.provider, refusal=refusal)
        return response


def _finish(reason: object, has_tools: bool) -> Finish:
    return "tool" if has_tools and reason == "completed" else normalize_finish(reason)


def _summary(items: list[Mapping[str, Any]]) -> str:
    summaries = (item.get("summary") for item in items if item.get("type") == "reasoning")
    return "\n".join(joined(mappings_of(one), "summary_text", "text") for one in summaries if one)
