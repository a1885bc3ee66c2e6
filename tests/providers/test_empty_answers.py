"""Answers without a text, and what is a text: on every wire."""

from collections.abc import Callable
from typing import Any

import pytest

from batchllm.core import Category, EmptyResponseError
from tests.providers.wire_kit import Server, anthropic, chat, gemini, metadata_of, responses

pytestmark = pytest.mark.anyio


def completion(content: Any, finish: str = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"finish_reason": finish, "message": {"content": content}}], **more}


def candidate(finish: str) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model"}, "finishReason": finish}]}


def response(**more: Any) -> dict[str, Any]:
    return {"output": [], "status": "completed", **more}


@pytest.mark.parametrize(
    ("make", "reply", "category"),
    [
        (chat, completion(""), Category.BAD_OUTPUT),
        (chat, completion(None), Category.BAD_OUTPUT),
        (chat, completion([]), Category.BAD_OUTPUT),
        (chat, completion("", "length"), Category.TRUNCATED),
        (chat, completion("", "content_filter"), Category.FILTERED),
        (gemini, candidate("STOP"), Category.BAD_OUTPUT),
        (gemini, candidate("MAX_TOKENS"), Category.TRUNCATED),
        (gemini, candidate("SAFETY"), Category.FILTERED),
        (gemini, {"promptFeedback": {"blockReason": "SAFETY"}}, Category.FILTERED),
        (anthropic, {"content": [], "stop_reason": "end_turn"}, Category.BAD_OUTPUT),
        (anthropic, {"content": [], "stop_reason": "max_tokens"}, Category.TRUNCATED),
        (anthropic, {"content": [], "stop_reason": "refusal"}, Category.FILTERED),
        (responses, response(status="completed"), Category.BAD_OUTPUT),
        (
            responses,
            response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            Category.TRUNCATED,
        ),
        (
            responses,
            response(status="incomplete", incomplete_details={"reason": "content_filter"}),
            Category.FILTERED,
        ),
    ],
)
async def test_an_empty_answer_is_filtered_only_where_a_filter_spoke(
    make: Callable[..., Any], reply: Any, category: Category
) -> None:
    """Nothing for no reason is tried again; a limit that left no room for text is not."""
    model = make(Server(reply))
    with pytest.raises(EmptyResponseError) as caught:
        await model.generate("x")
    info = model.error_classifier.classify(caught.value)
    assert (info.error_category, info.is_retryable) == (category, category == Category.BAD_OUTPUT)


@pytest.mark.parametrize(
    ("make", "reply", "thoughts"),
    [
        (
            chat,
            completion([{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "hi"}]),
            "hm",
        ),
        (
            chat,
            completion(
                [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "hi"},
                ]
            ),
            "hm",
        ),
        (chat, completion(["h", "i"]), None),
        (anthropic, {"content": ["h", {"type": "text", "text": "i"}]}, None),
        (anthropic, {"content": "hi"}, None),
        (
            responses,
            {"output": [{"type": "message", "content": ["hi"]}], "status": "completed"},
            None,
        ),
    ],
)
async def test_reasoning_is_no_answer_and_strings_are(
    make: Callable[..., Any], reply: Any, thoughts: str | None
) -> None:
    """Reasoning goes to the metadata; texts may come bare, alone or in a list."""
    answer = await make(Server(reply)).generate("x")
    assert answer.text == "hi"
    assert metadata_of(answer).get("reasoning") == thoughts


@pytest.mark.parametrize(
    ("make", "reply", "total"),
    [
        (chat, completion("hi", usage={"total_tokens": 7}), 7),
        (chat, completion("hi", usage={"prompt_tokens": "3", "completion_tokens": 4.0}), 7),
        (
            anthropic,
            {"content": "hi", "usage": {"input_tokens": "3", "output_tokens": 4.0}},
            7,
        ),
        (
            gemini,
            {
                "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": "3", "candidatesTokenCount": 4.0},
            },
            7,
        ),
        (
            responses,
            {
                "output": [{"type": "message", "content": "hi"}],
                "status": "completed",
                "usage": {"input_tokens": "3", "output_tokens": 4.0},
            },
            7,
        ),
    ],
)
async def test_usage_counts_however_it_is_written(
    make: Callable[..., Any], reply: Any, total: int
) -> None:
    """With a total only, as texts, or as floats."""
    answer = await make(Server(reply)).generate("x")
    assert (answer.text, answer.token_usage["total_tokens"]) == ("hi", total)
