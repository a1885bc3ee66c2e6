"""Faults of replies, and what they do to an item of a batch: rows 24 to 31 of their page."""

import json
from typing import Any

import anyio
import attrs
import httpx
import pytest

from batchllm import LLMWorkItem, ProcessorConfig, RetryConfig, run_batch
from batchllm.core import Category, WorkItemResult
from batchllm.gate import Gate
from batchllm.llm_strategies import llm
from batchllm.policy import Limit
from tests.providers.test_whole_streams import STREAMS, piece
from tests.providers.wire_kit import data

pytestmark = pytest.mark.anyio

CONFIG = ProcessorConfig(
    timeout_per_item=300, retry=RetryConfig(max_attempts=3, initial_wait=1.0, max_wait=1.0)
)
NAMES = {
    "chat": "openai-compatible:m",
    "responses": "openai-responses:m",
    "anthropic": "anthropic:m",
    "gemini": "gemini:m",
}
EVENTS = {"content-type": "text/event-stream"}


class Script:
    """Answers with one body after the other; the last stays."""

    def __init__(self, *bodies: Any, headers: dict[str, str] | None = None) -> None:
        self.bodies = [
            one if isinstance(one, bytes) else json.dumps(one).encode() for one in bodies
        ]
        self.headers = headers or {}
        self.times: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = self.bodies[min(len(self.times), len(self.bodies) - 1)]
        self.times.append(anyio.current_time())
        return httpx.Response(200, headers=self.headers, content=body)


async def ask(wire: str, script: Script, **settings: Any) -> WorkItemResult[Any, Any]:
    strategy = llm(NAMES[wire], base_url="http://api.test/v1", api_key="k", http=script, **settings)
    batch = await run_batch([LLMWorkItem("a", strategy, "x")], config=CONFIG)
    return batch.results[0]


def pauses(script: Script) -> list[float]:
    return [after - before for before, after in zip(script.times, script.times[1:], strict=False)]


def whole(wire: str, text: str, finish: Any = ..., **more: Any) -> dict[str, Any]:
    """Return a reply of *wire* that says *text*."""
    usual = {"chat": "stop", "responses": "completed", "anthropic": "end_turn", "gemini": "STOP"}
    reason = usual[wire] if finish is ... else finish
    part = {"type": "output_text", "text": text}
    candidate = {"content": {"parts": [{"text": text}]}, "finishReason": reason}
    shapes: dict[str, dict[str, Any]] = {
        "chat": {"choices": [{"finish_reason": reason, "message": {"content": text}}]},
        "responses": {"status": reason, "output": [{"type": "message", "content": [part]}]},
        "anthropic": {"content": [{"type": "text", "text": text}], "stop_reason": reason},
        "gemini": {"candidates": [candidate]},
    }
    return {**shapes[wire], **more}


wires = pytest.mark.parametrize("wire", NAMES)


@wires
async def test_a_stream_without_its_end_is_tried_again(wire: str) -> None:
    """Its text is not whole; the attempt is spent, since it may have been paid for."""
    cut = {
        "chat": data(piece("he")),
        "responses": data({"type": "response.output_text.delta", "delta": "he"}),
        "anthropic": STREAMS["anthropic"][: STREAMS["anthropic"].index(b"message_delta") - 12],
        "gemini": data({"candidates": [{"content": {"parts": [{"text": "he"}]}}]}),
    }
    script = Script(cut[wire], STREAMS[wire], headers=EVENTS)
    result = await ask(wire, script, stream=True)
    assert (result.output, result.attempts, len(script.times)) == ("hey", 2, 2)
    never = Script(cut[wire], headers=EVENTS)
    result = await ask(wire, never, stream=True)
    assert (result.success, result.output, result.attempts) == (False, None, 3)
    assert "not whole" in str(result.error)


@wires
@pytest.mark.parametrize(
    ("error", "attempts", "requests", "category"),
    [
        ({"type": "rate_limit_error", "code": 429, "message": "slow"}, 1, 2, None),
        ({"type": "overloaded_error", "message": "Overloaded"}, 1, 2, None),
        ({"type": "server_error", "code": 500, "message": "oops"}, 2, 2, None),
        ({"type": "invalid_request_error", "code": 400, "message": "bad"}, 1, 1, "invalid_request"),
    ],
    ids=["429", "529", "500", "400"],
)
async def test_an_error_in_a_stream_is_what_its_status_would_be(
    wire: str, error: Any, attempts: int, requests: int, category: str | None
) -> None:
    """A rate limit and an overload pause the scope and cost no attempt."""
    for failing in (
        data({"error": error}),
        b"event: error\n" + data({"type": "error", "error": error}),
    ):
        script = Script(failing, STREAMS[wire], headers=EVENTS)
        result = await ask(wire, script, stream=True)
        assert (result.attempts, len(script.times)) == (attempts, requests)
        assert result.success == (category is None)
        assert result.error_category == category
        assert category is None or error["message"] in str(result.error)


@wires
async def test_a_stream_without_counts_is_an_answer_of_unknown_cost(wire: str) -> None:
    """And takes from a limit on tokens what was estimated, as nothing better is known."""
    counted: dict[str, Any] = {
        "chat": data(piece("hey", "stop", usage={"prompt_tokens": 1, "completion_tokens": 1})),
        "anthropic": STREAMS["anthropic"],
        "responses": data(
            {
                "type": "response.completed",
                "response": whole(
                    "responses", "hey", usage={"input_tokens": 1, "output_tokens": 1}
                ),
            }
        ),
        "gemini": data(
            whole("gemini", "hey", usageMetadata={"promptTokenCount": 1, "candidatesTokenCount": 1})
        ),
    }
    silent = {**STREAMS, "anthropic": data({"type": "message_start", "message": {}}, *TEXT_END)}
    lasted: dict[str, float] = {}
    for name, body in (("silent", silent[wire]), ("counted", counted[wire])):
        script = Script(body, headers=EVENTS)
        strategy = llm(
            NAMES[wire],
            base_url="http://api.test/v1",
            api_key="k",
            http=script,
            stream=True,
            max_tokens=400,
        )
        gate = Gate(scope=strategy.quota_scope, limits=[Limit("tokens", 2_000, per=60.0)])
        batch = await run_batch([str(n) for n in range(12)], strategy, config=CONFIG, gate=gate)
        assert batch.succeeded == 12
        usages = [result.token_usage for result in batch.results]
        assert all(bool(usage) == (name == "counted") for usage in usages)
        lasted[name] = script.times[-1] - script.times[0]
    assert lasted["silent"] > lasted["counted"] + 60


TEXT_END = (
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hey"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    {"type": "message_stop"},
)


@wires
async def test_a_200_with_an_error_in_it_is_no_success(wire: str) -> None:
    """It is judged by its code: a 429 pauses, a 400 is final, a failure is tried again."""
    slow = Script({"error": {"code": 429, "message": "slow"}}, whole(wire, "hey"))
    result = await ask(wire, slow)
    assert (result.output, result.attempts) == ("hey", 1)
    assert pauses(slow)[0] >= 0.5
    bad = Script({"error": {"code": 400, "message": "bad schema"}})
    result = await ask(wire, bad)
    assert (result.success, len(bad.times)) == (False, 1)
    assert "bad schema" in str(result.error)
    failed = {
        "chat": whole("chat", "he", "error"),
        "responses": whole("responses", "he", "failed"),
        "anthropic": {"type": "error", "error": {"type": "api_error", "message": "oops"}},
        "gemini": whole("gemini", "he", "OTHER"),
    }
    again = Script(failed[wire], whole(wire, "hey"))
    result = await ask(wire, again)
    assert (result.output, result.attempts) == ("hey", 2)


async def test_a_response_that_is_incomplete_says_so() -> None:
    """Cut by its limit on tokens it is an answer that says so; by a filter it is none."""
    cut = whole("responses", "he", "incomplete", incomplete_details={"reason": "max_output_tokens"})
    result = await ask("responses", Script(cut))
    assert (result.output, result.metadata["finish_reason"]) == ("he", "length")
    cut["incomplete_details"] = {"reason": "content_filter"}
    result = await ask("responses", Script(cut))
    assert (result.success, result.error_category) == (False, Category.FILTERED)


FILTERED: list[tuple[str, dict[str, Any]]] = [
    ("gemini", {"promptFeedback": {"blockReason": "SAFETY"}}),
    ("gemini", {"candidates": [], "promptFeedback": {"blockReason": "OTHER"}}),
    ("gemini", whole("gemini", "", "SAFETY")),
    ("chat", whole("chat", "", "content_filter")),
    (
        "chat",
        {"choices": [{"finish_reason": "stop", "message": {"content": None, "refusal": "no"}}]},
    ),
    ("anthropic", {**whole("anthropic", "", "refusal"), "content": []}),
    (
        "responses",
        {
            "status": "completed",
            "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}],
        },
    ),
]


@pytest.mark.parametrize(("wire", "reply"), FILTERED)
async def test_what_a_filter_stopped_is_not_asked_again(wire: str, reply: dict[str, Any]) -> None:
    """A filter stops the same prompt each time."""
    script = Script(reply)
    result = await ask(wire, script)
    assert (result.success, result.error_category) == (False, Category.FILTERED)
    assert len(script.times) == 1


@attrs.frozen
class Town:
    name: str
    people: int = 0


LENGTHS = {"chat": "length", "anthropic": "max_tokens", "gemini": "MAX_TOKENS"}


@wires
async def test_json_that_a_limit_cut_off_is_no_output(wire: str) -> None:
    """The error says what to raise, and keeps the text."""
    if wire == "responses":
        details = {"reason": "max_output_tokens"}
        reply = whole(wire, '{"name": "Bo', "incomplete", incomplete_details=details)
    else:
        reply = whole(wire, '{"name": "Bo', LENGTHS[wire])
    result = await ask(wire, Script(reply), output=Town, max_tokens=5)
    assert (result.success, result.output) == (False, None)
    assert "raise max_tokens" in str(result.error)
    assert getattr(result.exception, "text", None) == '{"name": "Bo'


@wires
@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"name": "Bonn"}\n```',
        'Sure: {"name": "Bonn",}',
        '{"name": "Bonn", "other": NaN}',
        '{"name": "Bonn", "name": "Bonn"}',
        json.dumps({"name": "Bonn", "pad": "x" * 10_000_000}),
    ],
    ids=["fence", "comma", "nan", "same key", "10 MB"],
)
async def test_json_in_odd_clothes_is_read(wire: str, text: str) -> None:
    """In fences, with a comma too many, a number that is none, or ten megabytes of it."""
    result = await ask(wire, Script(whole(wire, text)), output=Town)
    assert result.output == Town("Bonn")


@wires
@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Bonn", "people": NaN}',
        '{"name": "Bonn", "name": "Rome"}',
        "[" * 10_000 + "]" * 10_000,
        '{"name": ' * 10_000,
        '{"name": "Bo',
    ],
    ids=["nan", "two values", "deep", "deep and cut", "cut"],
)
async def test_json_that_cannot_be_meant_is_refused(wire: str, text: str) -> None:
    """By a sentence, and never by the depth of Python's stack."""
    result = await ask(wire, Script(whole(wire, text)), output=Town)
    assert (result.success, result.error_category) == (False, Category.BAD_OUTPUT)
    assert "does not fit its type" in str(result.error)


@wires
async def test_words_and_fields_that_are_new_are_tolerated(wire: str) -> None:
    """A reason, an event, a field, a count as a text: none of them costs an answer."""
    new = {"a_new_field": {"type": "x"}}
    counts = {"prompt_tokens": "3", "completion_tokens": "2", "a_new_count": [1]}
    metered = {"promptTokenCount": "3", "candidatesTokenCount": "2"}
    billed = {"input_tokens": "3", "output_tokens": "2"}
    usage = {
        "chat": {"usage": counts},
        "responses": {"usage": billed},
        "anthropic": {"usage": billed},
        "gemini": {"usageMetadata": metered},
    }
    status = "completed" if wire == "responses" else "a_new_reason"
    result = await ask(wire, Script(whole(wire, "hey", status, **new, **usage[wire])))
    assert result.output == "hey"
    assert result.token_usage is not None
    assert (result.token_usage["input_tokens"], result.token_usage["output_tokens"]) == (3, 2)
    bare = {"chat": None, "responses": "completed", "anthropic": None, "gemini": None}
    assert (await ask(wire, Script(whole(wire, "hey", bare[wire])))).output == "hey"
    events = data({"type": "a.new.event", **new}) + STREAMS[wire]
    assert (await ask(wire, Script(events, headers=EVENTS), stream=True)).output == "hey"
