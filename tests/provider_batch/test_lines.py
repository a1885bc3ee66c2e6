"""Lines of result files, of every shape that is documented or was seen, and of any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.provider_batch.reading import lines_in
from batchllm.provider_batch.verdicts import LineKind, LineOutcome
from batchllm.provider_batch.wires import AnthropicBatches, Control, OpenAIBatches, RemoteKind
from batchllm.provider_batch.wires.anthropic import read_batch as read_anthropic
from batchllm.provider_batch.wires.openai import read_batch as read_openai
from batchllm.transport import HttpClient

HTTP = HttpClient(base_url="https://api.test/v1")
OPENAI = OpenAIBatches(Control("openai", HTTP, ""))
ANTHROPIC = AnthropicBatches(Control("anthropic", HTTP, ""))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def openai(**row: Any) -> LineOutcome:
    return OPENAI.read_line(json.dumps({"id": "batch_req_1", "custom_id": "x", **row}).encode())


def anthropic(**result: Any) -> LineOutcome:
    return ANTHROPIC.read_line(json.dumps({"custom_id": "x", "result": result}).encode())


@pytest.mark.parametrize(
    ("row", "kind", "status"),
    [
        (
            {"response": {"status_code": 200, "request_id": "r", "body": {"choices": []}}},
            LineKind.OK,
            200,
        ),
        (
            {"response": {"status_code": 400, "body": {"error": {"message": "bad"}}}},
            LineKind.HTTP_ERROR,
            400,
        ),
        ({"response": {"status_code": 0, "body": None}}, LineKind.UNKNOWN, 0),
        ({"response": {"status_code": 200, "body": None}}, LineKind.UNKNOWN, 0),
        ({"response": {"status_code": 401, "body": {}}}, LineKind.ACCOUNT, 401),
        ({"response": None, "error": {"code": "batch_expired"}}, LineKind.NOT_RUN, 0),
        ({"response": None, "error": {"code": "batch_cancelled"}}, LineKind.NOT_RUN, 0),
        ({"response": None, "error": {"code": "request_timeout"}}, LineKind.HTTP_ERROR, 408),
        ({"response": None, "error": {"code": 17, "message": "odd"}}, LineKind.UNKNOWN, 0),
        ({"response": None, "error": "a text"}, LineKind.UNKNOWN, 0),
        ({"error": {"code": "billing_hard_limit_reached"}}, LineKind.ACCOUNT, 0),
        ({}, LineKind.UNKNOWN, 0),
    ],
)
def test_a_line_of_openai_has_one_of_five_kinds(
    row: dict[str, Any], kind: LineKind, status: int
) -> None:
    outcome = openai(**row)
    assert (outcome.custom_id, outcome.kind, outcome.status) == ("x", kind, status)


def _error(kind: str, message: str = "it went wrong") -> dict[str, Any]:
    return {"error": {"type": "error", "error": {"type": kind, "message": message}}}


@pytest.mark.parametrize(
    ("result", "kind", "status"),
    [
        ({"type": "succeeded", "message": {"content": []}}, LineKind.OK, 200),
        ({"type": "canceled"}, LineKind.NOT_RUN, 0),
        ({"type": "expired"}, LineKind.NOT_RUN, 0),
        ({"type": "errored", **_error("invalid_request_error")}, LineKind.HTTP_ERROR, 400),
        ({"type": "errored", **_error("overloaded_error")}, LineKind.HTTP_ERROR, 529),
        ({"type": "errored", **_error("rate_limit_error")}, LineKind.HTTP_ERROR, 429),
        ({"type": "errored", **_error("billing_error")}, LineKind.ACCOUNT, 0),
        (
            {"type": "errored", **_error("invalid_request_error", "Your credit balance is low")},
            LineKind.ACCOUNT,
            0,
        ),
        ({"type": "errored", "error": "a text"}, LineKind.HTTP_ERROR, 500),
        ({"type": "something new"}, LineKind.UNKNOWN, 0),
    ],
)
def test_a_line_of_anthropic_has_one_of_five_kinds(
    result: dict[str, Any], kind: LineKind, status: int
) -> None:
    outcome = anthropic(**result)
    assert (outcome.custom_id, outcome.kind, outcome.status) == ("x", kind, status)


@given(response=JSON, error=JSON, name=JSON, result=JSON)
def test_no_line_of_results_is_an_exception(
    response: Any, error: Any, name: Any, result: Any
) -> None:
    """Each line ends in one of the five kinds, with any values in its fields."""
    row = {"custom_id": name, "response": response, "error": error, "result": result}
    for wire in (OPENAI, ANTHROPIC):
        outcome = wire.read_line(json.dumps(row).encode())
        assert outcome.kind in LineKind
        assert outcome.custom_id is None or outcome.custom_id == name


@given(st.binary(max_size=40))
def test_no_bytes_are_an_exception(line: bytes) -> None:
    for wire in (OPENAI, ANTHROPIC):
        assert wire.read_line(line).kind is LineKind.UNKNOWN or line


@given(st.dictionaries(st.sampled_from(["status", "errors", "request_counts", "metadata"]), JSON))
def test_a_batch_of_any_shape_is_read(fields: dict[str, Any]) -> None:
    assert read_openai({"id": "batch_1", **fields}).id == "batch_1"
    assert read_anthropic({"id": "b", "processing_status": fields.get("status")}).id == "b"


def test_a_recorded_batch_is_read() -> None:
    """As OpenAI describes one that was refused for a quota after its create."""
    text = (
        '{"id":"batch_a1","object":"batch","status":"failed","endpoint":"/v1/responses",'
        '"input_file_id":"file-1","created_at":1790000000,"expires_at":1790086400,'
        '"output_file_id":null,"error_file_id":"","request_counts":{"total":0,"completed":0,'
        '"failed":0},"errors":{"object":"list","data":[{"code":"token_limit_exceeded","line":null,'
        '"message":"Limit: 2,000,000 enqueued tokens."}]},"metadata":{"bllm_run":"r7"}}'
    )
    batch = read_openai(json.loads(text))
    assert (batch.kind, batch.outputs) == (RemoteKind.REJECTED, ())
    assert batch.problems[0].code == "token_limit_exceeded"
    assert batch.metadata == {"bllm_run": "r7"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("Cancelled", RemoteKind.PARTIAL),
        ("canceled", RemoteKind.PARTIAL),
        ("a new word", RemoteKind.RUNNING),
        ("COMPLETED", RemoteKind.DONE),
    ],
)
def test_a_status_that_is_not_known_is_no_end(status: str, kind: RemoteKind) -> None:
    assert read_openai({"id": "b", "status": status}).kind is kind


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_of_a_result_file_are_found_whatever_begins_and_ends_them(
    tmp_path: Path, mark: bytes, end: bytes, last: bool
) -> None:
    """A byte order mark, CRLF, a blank line, and an end without a line break lose no line."""
    rows = [b'{"custom_id":"a"}', b"", b'{"custom_id":"b","text":"x y"}']
    content = mark + end.join(rows) + (end if last else b"")
    path = tmp_path / "results.jsonl"
    path.write_bytes(content)
    found = list(lines_in(path))
    assert [text for _, text in found] == [rows[0], rows[2]]
    assert [content[start : start + len(text)] for start, text in found] == [rows[0], rows[2]]
