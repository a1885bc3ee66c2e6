"""Gemini's batches and lines, in every shape that is documented or was seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.api import run_batch
from batchllm.core import (
    EmptyResponseError,
    LLMWorkItem,
    Price,
    ProcessorConfig,
    ProviderError,
    RetryState,
    StrategyError,
)
from batchllm.llm_strategies import GeminiResponse, GeminiStrategy, llm
from batchllm.provider_batch.answered import Answered
from batchllm.provider_batch.states import Chunk
from batchllm.provider_batch.verdicts import (
    CreateVerdict,
    LineKind,
    LineOutcome,
    is_about_the_account,
    judge_create,
)
from batchllm.provider_batch.wires import Control, GeminiBatches, RemoteKind, body_of
from batchllm.provider_batch.wires.base import Page
from batchllm.provider_batch.wires.gemini_replies import read_batch
from batchllm.providers import GeminiClient, GeminiEmbeddingStrategy, GeminiModel
from batchllm.transport import HttpClient, HttpReply
from tests.provider_batch.test_lines import JSON

pytestmark = pytest.mark.anyio
WIRE = GeminiBatches(Control("gemini", HttpClient(base_url="https://api.test/v1beta"), ""))
CLIENT = GeminiClient("k", base_url="https://api.test/v1beta")
ANSWER: dict[str, Any] = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [{"text": "so I think", "thought": True}, {"text": "yo"}],
            },
            "finishReason": "STOP",
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 7,
        "totalTokenCount": 109,
        "serviceTier": "standard",
    },
    "modelVersion": "gemini-2.5-flash",
    "responseId": "r-1",
}
BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}


def line(**row: Any) -> LineOutcome:
    return WIRE.read_line(json.dumps(row).encode())


def reply_of(outcome: LineOutcome) -> HttpReply:
    return HttpReply(outcome.status, outcome.headers, body_of(outcome))


def error(code: Any, message: str = "it went wrong", **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


# -- lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "kind", "status"),
    [
        ({"response": ANSWER}, LineKind.OK, 200),
        ({"response": BLOCKED}, LineKind.OK, 200),
        ({"response": {"embedding": {"values": [0.1]}}}, LineKind.OK, 200),
        ({"response": {}}, LineKind.UNKNOWN, 0),
        ({"response": None, "error": None}, LineKind.UNKNOWN, 0),
        ({"error": "a text"}, LineKind.UNKNOWN, 0),
        ({"error": {"message": "no code"}}, LineKind.UNKNOWN, 0),
        (error(3, details=[]), LineKind.HTTP_ERROR, 400),
        (error("3"), LineKind.HTTP_ERROR, 400),
        (error(4), LineKind.HTTP_ERROR, 504),
        (error(5), LineKind.HTTP_ERROR, 404),
        (error(8, "You exceeded your current quota."), LineKind.HTTP_ERROR, 429),
        (error(13), LineKind.HTTP_ERROR, 500),
        (error(14), LineKind.HTTP_ERROR, 503),
        (error(503), LineKind.HTTP_ERROR, 503),
        (error(None, status="UNAVAILABLE"), LineKind.HTTP_ERROR, 503),
        (error(1), LineKind.NOT_RUN, 0),
        (error(7, "The caller does not have permission"), LineKind.ACCOUNT, 403),
        (error(16), LineKind.ACCOUNT, 401),
        # A file that the request names: about that request alone, though it is a permission's code.
        (
            error(7, "No permission to access the File x or it may not exist."),
            LineKind.HTTP_ERROR,
            404,
        ),
    ],
)
def test_a_line_has_one_of_five_kinds(row: dict[str, Any], kind: LineKind, status: int) -> None:
    outcome = line(key="x", **row)
    assert (outcome.custom_id, outcome.kind, outcome.status) == ("x", kind, status)


def test_the_key_of_a_line_is_in_one_of_two_places() -> None:
    assert line(metadata={"key": "y"}, response=ANSWER).custom_id == "y"
    assert line(metadata="odd", response=ANSWER).custom_id is None


@given(response=JSON, error=JSON, name=JSON, metadata=JSON)
def test_no_line_of_results_is_an_exception(
    response: Any, error: Any, name: Any, metadata: Any
) -> None:
    row = {"key": name, "metadata": metadata, "response": response, "error": error}
    assert WIRE.read_line(json.dumps(row).encode()).kind in LineKind


@given(st.binary(max_size=40))
def test_no_bytes_are_an_exception(given: bytes) -> None:
    assert WIRE.read_line(given).kind is LineKind.UNKNOWN or given


# -- answers, read as they are online --------------------------------------------------------------


def test_thoughts_and_cached_tokens_are_read_as_they_are_online() -> None:
    strategy = llm("gemini:gemini-2.5-flash", api_key="k")
    output, usage, metadata = strategy.read_reply(
        reply_of(line(key="x", response=ANSWER)), "hi", RetryState()
    )
    assert output == "yo"
    assert usage == {
        "input_tokens": 100,
        "output_tokens": 9,
        "total_tokens": 109,
        "cached_input_tokens": 60,
        "reasoning_tokens": 7,
    }
    assert metadata is not None
    assert (metadata["reasoning"], metadata["response_id"]) == ("so I think", "r-1")


def test_the_tokens_of_a_vector_are_read() -> None:
    embed = GeminiEmbeddingStrategy("gemini-embedding-001", CLIENT)
    row = line(key="x", response={"tokenCount": "4", "embedding": {"values": [0.1, 0.2]}})
    vectors, usage, _ = embed.read_reply(reply_of(row), "hi", RetryState())
    assert vectors == [[0.1, 0.2]]
    assert usage is not None
    assert usage["input_tokens"] == 4


def test_a_blocked_prompt_says_why_as_it_does_online() -> None:
    strategy = GeminiStrategy(model="g", client=CLIENT, include_metadata=True)
    with pytest.raises(EmptyResponseError) as raised:
        strategy.read_reply(reply_of(line(key="x", response=BLOCKED)), "hi", RetryState())
    blocked = raised.value.output_for_result  # type: ignore[attr-defined]
    assert isinstance(blocked, GeminiResponse)
    assert blocked.finish_reason == "SAFETY"


def test_an_error_of_a_line_is_that_of_its_status_online() -> None:
    strategy = llm("gemini:g", api_key="k")
    row = line(key="x", **error(8, "Resource exhausted, please try again later."))
    with pytest.raises(ProviderError, match="429 RESOURCE_EXHAUSTED") as raised:
        strategy.read_reply(reply_of(row), "hi", RetryState())
    assert raised.value.status == 429


async def test_a_cached_token_has_the_price_of_the_cache_and_no_other() -> None:
    strategy = llm("gemini:gemini-2.5-flash", api_key="k")
    answered = Answered(strategy, reply_of(line(key="x", response=ANSWER)), "batches/1")
    config = ProcessorConfig(
        prices={"gemini:gemini-2.5-flash": Price(input=1.0, output=10.0, cached_input=0.1)}
    )
    result = await run_batch([LLMWorkItem("a", answered, "hi")], config=config)
    assert result.succeeded == 1
    assert result.cost == pytest.approx((40 * 1.0 / 2 + 60 * 0.1 + 9 * 10.0 / 2) / 1e6)


def test_a_foreign_client_writes_no_request_down() -> None:
    class Foreign:
        class aio:  # noqa: N801
            class models:  # noqa: N801
                generate_content = None

    with pytest.raises(StrategyError, match="cannot be written down; give a GeminiClient"):
        GeminiModel("g", Foreign()).compose("hi")


# -- batches --------------------------------------------------------------------------------------


def operation(state: str, **more: Any) -> dict[str, Any]:
    about = {"state": f"BATCH_STATE_{state}", "displayName": "bllm-abcdefgh-c3-t2-0a1b2c3d"}
    return {"name": "batches/1", "metadata": {**about, **more.pop("about", {})}, **more}


FILE = {"responsesFile": "files/batch-1"}


@pytest.mark.parametrize(
    ("given", "kind", "outputs"),
    [
        (operation("PENDING"), RemoteKind.WAITING, ()),
        (operation("UNSPECIFIED"), RemoteKind.WAITING, ()),
        (operation("RUNNING"), RemoteKind.RUNNING, ()),
        (operation("PAUSED"), RemoteKind.RUNNING, ()),
        (operation("A_NEW_WORD"), RemoteKind.RUNNING, ()),
        (operation("cancelling"), RemoteKind.CANCELLING, ()),
        (operation("SUCCEEDED", about={"output": FILE}), RemoteKind.DONE, ("files/batch-1",)),
        (operation("SUCCEEDED", response=FILE, done=True), RemoteKind.DONE, ("files/batch-1",)),
        (operation("PARTIALLY_SUCCEEDED", response=FILE), RemoteKind.DONE, ("files/batch-1",)),
        (operation("RUNNING", response=FILE, done=True), RemoteKind.DONE, ("files/batch-1",)),
        # What was done must not be lost by an answer that comes before the name of the results.
        (operation("SUCCEEDED", done=True), RemoteKind.RUNNING, ()),
        (operation("CANCELLED", **error(1)), RemoteKind.PARTIAL, ()),
        (operation("EXPIRED"), RemoteKind.PARTIAL, ()),
        (operation("FAILED", **error(3)), RemoteKind.REJECTED, ()),
        (operation("FAILED", **error(8)), RemoteKind.REJECTED, ()),
        (operation("FAILED", **error(13)), RemoteKind.PARTIAL, ()),
        (operation("FAILED"), RemoteKind.PARTIAL, ()),
        (operation("RUNNING", done=True, **error(1)), RemoteKind.PARTIAL, ()),
        (operation("RUNNING", done=True, **error(3)), RemoteKind.REJECTED, ()),
        ({"name": "batches/1", "state": "JOB_STATE_RUNNING"}, RemoteKind.RUNNING, ()),
    ],
)
def test_a_state_is_one_of_six_kinds(
    given: dict[str, Any], kind: RemoteKind, outputs: tuple[str, ...]
) -> None:
    batch = read_batch(given)
    assert (batch.id, batch.kind, batch.outputs) == ("batches/1", kind, outputs)


@pytest.mark.parametrize(
    ("later", "kind"), [(3_599.0, RemoteKind.RUNNING), (3_600.0, RemoteKind.DONE)]
)
def test_results_without_a_name_are_given_up_after_an_hour(later: float, kind: RemoteKind) -> None:
    given = operation("SUCCEEDED", about={"endTime": "2026-01-01T00:00:00Z"})
    assert read_batch(given, now=1_767_225_600.0 + later).kind is kind


def test_a_recorded_batch_is_read() -> None:
    """Counts are texts, and those of zero are left out; times have nanoseconds."""
    text = (
        '{"name":"batches/abc","metadata":{"@type":"type.googleapis.com/google.ai.'
        'generativelanguage.v1main.GenerateContentBatch","model":"models/gemini-2.5-flash",'
        '"displayName":"bllm-abcdefgh-c3-t1-0a1b2c3d","createTime":"2026-08-19T14:44:51.493319123Z",'
        '"updateTime":"2026-08-19T14:44:51.493319123Z","batchStats":{"requestCount":"2",'
        '"pendingRequestCount":"2"},"state":"BATCH_STATE_PENDING","name":"batches/abc"}}'
    )
    batch = read_batch(json.loads(text))
    assert (batch.id, batch.total, batch.done) == ("batches/abc", 2, 0)
    assert batch.created == pytest.approx(1_787_150_691.493319)
    chunk = Chunk(
        number=3, run="abcdefgh", provider="gemini", path="/m", model="m", lines=2, sha="0a1b2c3dff"
    )
    assert WIRE.is_of(batch, chunk)


@given(st.dictionaries(st.sampled_from(["metadata", "done", "error", "response", "state"]), JSON))
def test_a_batch_of_any_shape_is_read(fields: dict[str, Any]) -> None:
    about = {name: fields.get("response") for name in ("state", "batchStats", "output")}
    for one in (fields, {"metadata": about}, {**fields, "metadata": about}):
        assert read_batch({**one, "name": "batches/1"}).id == "batches/1"


def test_only_a_list_from_the_newest_on_shows_that_nothing_follows() -> None:
    def page(*times: float) -> Page:
        stamps = (f"2026-01-01T00:00:{at:02.0f}Z" for at in times)
        batches = [read_batch({"name": "batches/1", "createTime": stamp}) for stamp in stamps]
        return Page(batches, "next")

    start = page(0).batches[0].created or 0.0
    assert page(9, 5, 1).is_behind(start + 4)
    assert not page(9, 5, 4).is_behind(start + 4)
    assert not page(1, 5, 9).is_behind(start + 4)
    assert not page().is_behind(start + 4)


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "text", "verdict"),
    [
        (429, "RESOURCE_EXHAUSTED You exceeded your current quota, check billing", "wait"),
        (429, "insufficient_quota You exceeded your current quota", "account"),
        (429, "RESOURCE_EXHAUSTED Quota exceeded for metric: free_tier, limit: 0", "account"),
        (429, "RESOURCE_EXHAUSTED Quota exceeded for metric: x, limit: 05", "wait"),
        (429, "RESOURCE_EXHAUSTED Your prepayment credits are depleted.", "account"),
        (400, "API_KEY_INVALID API key not valid. Please pass a valid API key.", "account"),
        (400, "INVALID_ARGUMENT it went wrong", "refused"),
    ],
)
def test_a_quota_of_google_is_no_account_problem(status: int, text: str, verdict: str) -> None:
    """Each of its refusals speaks of plan and billing, in OpenAI's words for an unpaid bill."""
    assert judge_create(status, text=text) is CreateVerdict(verdict)
    assert is_about_the_account(text) == (verdict == "account")
