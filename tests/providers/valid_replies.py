"""Valid replies of every wire, plain and with all that a provider may put into them.

Each says ``TEXT`` and nothing else; whatever else is text in it has to stay out of the answer.
"""

from typing import Any

from attrs import frozen

PIECES = ("Grüße ", "😀: the", " answer", " is 42.")
TEXT = "".join(PIECES)
HIDDEN = ("hidden-thought", "tool-argument", "cited-words")
"""Texts of the rich replies that are never an answer."""


@frozen
class Reply:
    """One valid reply, whole and as the events of a stream.

    Attributes:
        wire: The provider's API.
        whole: The JSON of the reply.
        events: The JSON of each event.
        is_named: Whether events carry their type in an ``event:`` field.
        has_done: Whether ``[DONE]`` ends the stream.
    """

    wire: str
    whole: dict[str, Any]
    events: list[dict[str, Any]]
    is_named: bool = False
    has_done: bool = False


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    facts = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**facts, "choices": [choice], "usage": None, **more}


_COUNTS = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
_DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3, "accepted_prediction_tokens": 0},
    "cost": 0.0012,
    "cost_details": {"upstream_inference_cost": None},
}
_SAFE = {"hate": {"filtered": False, "severity": "safe"}, "jailbreak": {"filtered": False}}
_LOGPROBS = {"content": [{"token": "G", "logprob": -0.1, "bytes": [71], "top_logprobs": []}]}

CHAT_PLAIN = Reply(
    "chat",
    {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": TEXT}}]},
    [
        *({"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in PIECES),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ],
    has_done=True,
)
CHAT_RICH = Reply(
    "chat",
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "provider": "Upstream",
        "system_fingerprint": "fp_1",
        "service_tier": "default",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "native_finish_reason": "STOP",
                "logprobs": _LOGPROBS,
                "content_filter_results": _SAFE,
                "message": {
                    "role": "assistant",
                    "content": TEXT,
                    "refusal": None,
                    "reasoning_content": "hidden-thought",
                    "annotations": [{"type": "url_citation", "url_citation": {"title": "t"}}],
                    "tool_calls": None,
                },
            },
            {"index": 1, "finish_reason": "stop", "message": {"content": "other-choice"}},
        ],
        "usage": {**_COUNTS, **_DETAILS},
        "x_groq": {"id": "req_1"},
    },
    [
        {"choices": [], "prompt_filter_results": [{"content_filter_results": _SAFE}]},
        _chunk({"role": "assistant", "content": "", "refusal": None}),
        _chunk({"reasoning_content": "hidden-thought"}),
        *(_chunk({"content": piece}) for piece in PIECES),
        _chunk({}, "stop", service_tier="default", x_groq={"usage": _COUNTS}),
        {"id": "c1", "choices": [], "usage": {**_COUNTS, **_DETAILS}},
    ],
    has_done=True,
)

_MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [
        {
            "type": "output_text",
            "text": TEXT,
            "annotations": [
                {"type": "url_citation", "url": "cited-words", "start_index": 0, "end_index": 3}
            ],
            "logprobs": [{"token": "G", "logprob": -0.1, "top_logprobs": []}],
        }
    ],
}
_THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "hidden-thought"}],
}
_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1756310470,
    "status": "completed",
    "model": "m",
    "error": None,
    "incomplete_details": None,
    "service_tier": "default",
    "metadata": {},
    "output": [_THOUGHT, _MESSAGE],
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": 123,
    },
}
_STARTED = {**_RESPONSE, "status": "in_progress", "output": [], "usage": None}


def _numbered(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


_PLACE = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
RESPONSES_PLAIN = Reply(
    "responses",
    {
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": TEXT}]}],
    },
    [
        {
            "type": "response.completed",
            "response": {
                "status": "completed",
                "output": [{"type": "message", "content": [{"type": "output_text", "text": TEXT}]}],
            },
        }
    ],
    is_named=True,
)
RESPONSES_RICH = Reply(
    "responses",
    _RESPONSE,
    _numbered(
        {"type": "response.created", "response": _STARTED},
        {"type": "response.in_progress", "response": _STARTED},
        {"type": "response.output_item.added", "output_index": 0, "item": _THOUGHT},
        {
            "type": "response.reasoning_summary_text.delta",
            "item_id": "rs_1",
            "output_index": 0,
            "summary_index": 0,
            "delta": "hidden-thought",
        },
        {"type": "response.output_item.done", "output_index": 0, "item": _THOUGHT},
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {**_MESSAGE, "status": "in_progress", "content": []},
        },
        {
            "type": "response.content_part.added",
            **_PLACE,
            "part": {"type": "output_text", "text": "", "annotations": []},
        },
        *({"type": "response.output_text.delta", **_PLACE, "delta": piece} for piece in PIECES),
        {"type": "response.output_text.done", **_PLACE, "text": TEXT},
        {"type": "response.content_part.done", **_PLACE, "part": _MESSAGE["content"][0]},
        {"type": "response.output_item.done", "output_index": 1, "item": _MESSAGE},
        {"type": "response.completed", "response": _RESPONSE},
    ),
    is_named=True,
)

_START = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
_BILL = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 4,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"thinking_tokens": 2},
    "service_tier": "standard",
}


def _delta(index: int, kind: str, name: str, piece: str) -> dict[str, Any]:
    delta = {"type": kind, name: piece}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _block(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


_END = {"stop_reason": "end_turn", "stop_sequence": None}
ANTHROPIC_PLAIN = Reply(
    "anthropic",
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 12, "output_tokens": 5},
    },
    [
        {"type": "message_start", "message": _START},
        _block(0, {"type": "text", "text": ""}),
        *(_delta(0, "text_delta", "text", piece) for piece in PIECES),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": _END, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ],
    is_named=True,
)
_THINKING = {"type": "thinking", "thinking": "hidden-thought", "signature": "s1"}
_CITATION = {"type": "char_location", "cited_text": "cited-words", "document_index": 0}
ANTHROPIC_RICH = Reply(
    "anthropic",
    {
        **_START,
        "content": [
            _THINKING,
            {"type": "text", "text": "".join(PIECES[:2]), "citations": [_CITATION]},
            {"type": "server_tool_use", "id": "s1", "name": "search", "input": {"q": "x"}},
            {"type": "text", "text": "".join(PIECES[2:])},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"p": "tool-argument"}},
        ],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": _BILL,
    },
    [
        {"type": "message_start", "message": {**_START, "usage": {**_BILL, "output_tokens": 1}}},
        {"type": "ping"},
        _block(0, {"type": "thinking", "thinking": "", "signature": ""}),
        _delta(0, "thinking_delta", "thinking", "hidden-thought"),
        _delta(0, "signature_delta", "signature", "s1"),
        {"type": "content_block_stop", "index": 0},
        _block(1, {"type": "text", "text": ""}),
        _delta(1, "text_delta", "text", PIECES[0]),
        _delta(1, "text_delta", "text", PIECES[1]),
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "citations_delta", "citation": _CITATION},
        },
        {"type": "content_block_stop", "index": 1},
        {"type": "ping"},
        _block(2, {"type": "text", "text": ""}),
        _delta(2, "text_delta", "text", PIECES[2]),
        _delta(2, "text_delta", "text", PIECES[3]),
        {"type": "content_block_stop", "index": 2},
        _block(3, {"type": "tool_use", "id": "t1", "name": "f", "input": {}}),
        _delta(3, "input_json_delta", "partial_json", '{"p":'),
        _delta(3, "input_json_delta", "partial_json", '"tool-argument"}'),
        {"type": "content_block_stop", "index": 3},
        {"type": "message_delta", "delta": _END, "usage": _BILL},
        {"type": "message_stop"},
    ],
    is_named=True,
)

_METERED = {
    "promptTokenCount": 10,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 7,
    "totalTokenCount": 22,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}],
    "trafficType": "ON_DEMAND",
}
_RATED = [{"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "NEGLIGIBLE"}]

_GROUNDED = {
    "groundingChunks": [{"web": {"uri": "cited-words", "title": "t"}}],
    "groundingSupports": [
        {"segment": {"startIndex": 0, "endIndex": 3}, "groundingChunkIndices": [0]}
    ],
}
_CHOSEN = {
    "chosenCandidates": [{"token": "G", "logProbability": -0.1}],
    "topCandidates": [{"candidates": [{"token": "G", "logProbability": -0.1}]}],
}


def _candidate(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"index": 0, "content": {"role": "model", "parts": list(parts)}, **more}


GEMINI_PLAIN = Reply(
    "gemini",
    {"candidates": [{"content": {"parts": [{"text": TEXT}]}, "finishReason": "STOP"}]},
    [
        *({"candidates": [{"content": {"parts": [{"text": one}]}}]} for one in PIECES[:-1]),
        {"candidates": [{"content": {"parts": [{"text": PIECES[-1]}]}, "finishReason": "STOP"}]},
    ],
)
GEMINI_RICH = Reply(
    "gemini",
    {
        "candidates": [
            _candidate(
                {"text": "hidden-thought", "thought": True},
                *({"text": piece} for piece in PIECES),
                {"functionCall": {"name": "f", "args": {"p": "tool-argument"}}},
                finishReason="STOP",
                safetyRatings=_RATED,
                avgLogprobs=-0.1,
                citationMetadata={"citationSources": [{"startIndex": 0, "uri": "cited-words"}]},
                groundingMetadata=_GROUNDED,
                logprobsResult=_CHOSEN,
            ),
            {"index": 1, "content": {"parts": [{"text": "other-choice"}]}, "finishReason": "STOP"},
        ],
        "promptFeedback": {"safetyRatings": _RATED},
        "usageMetadata": _METERED,
        "modelVersion": "m-001",
        "responseId": "r1",
    },
    [
        {"candidates": [_candidate({"text": "hidden-thought", "thought": True})]},
        *(
            {
                "candidates": [_candidate({"text": piece}, safetyRatings=_RATED)],
                "usageMetadata": {"promptTokenCount": 10},
                "modelVersion": "m-001",
                "responseId": "r1",
            }
            for piece in PIECES
        ),
        {
            "candidates": [
                _candidate(
                    {"text": ""},
                    finishReason="STOP",
                    groundingMetadata=_GROUNDED,
                    logprobsResult=_CHOSEN,
                )
            ],
            "usageMetadata": _METERED,
            "responseId": "r1",
        },
    ],
)

REPLIES = [
    CHAT_PLAIN,
    CHAT_RICH,
    RESPONSES_PLAIN,
    RESPONSES_RICH,
    ANTHROPIC_PLAIN,
    ANTHROPIC_RICH,
    GEMINI_PLAIN,
    GEMINI_RICH,
]
