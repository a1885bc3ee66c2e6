"""Error bodies of all wires, read to one shape."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.policy import ErrorBody

INNER = {"message": "no", "type": "kind", "code": "code"}
READ = ErrorBody(message="no", kind="kind", code="code", is_of_an_api=True)


@pytest.mark.parametrize(
    "body",
    [
        INNER,
        {"error": INNER},
        [{"error": INNER}],
        {"type": "error", "error": INNER},
        {"type": "response.failed", "response": {"status": "failed", "error": INNER}},
        json.dumps({"error": INNER}),
        json.dumps({"error": INNER}).encode(),
        bytearray(json.dumps([{"error": INNER}]).encode()),
        "\n\n  " + json.dumps(INNER),
    ],
)
def test_finds_the_error_wherever_it_is(body: object) -> None:
    """Parsed or not, wrapped or not, in a list or in a failed response."""
    assert ErrorBody.read(body) == READ


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("plain words", "plain words"),
        (b"caf\xe9", "caf\ufffd"),
        ({"error": "model not found"}, "model not found"),
        ({"detail": "gone"}, "gone"),
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required"),
        ({"detail": {"message": "slow"}}, "slow"),
        ({"errors": [{"code": 10000, "message": "bad key"}], "success": False}, "bad key"),
        ({"errors": ["slow down"]}, "slow down"),
        ({"message": "not valid", "errors": [{"field": "x"}]}, "not valid"),
        ({"fault": {"faultstring": "over quota", "detail": {"errorcode": "x"}}}, "over quota"),
        ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, "rate limit"),
        ({"code": 429, "msg": "slow"}, "slow"),
        ({"error": True, "message": "slow"}, "slow"),
        ({"type": "about:blank", "title": "Too Many Requests", "status": 429}, "Too Many Requests"),
        ({"Message": "too many"}, "too many"),
        ({"error": {"message": "bad", "metadata": {"raw": "upstream"}}}, "bad upstream"),
        ({"error": {"metadata": {"raw": "upstream"}}}, " upstream"),
        ("{not json", "{not json"),
        ("[" * 100_000, "[" * 4_096),
        ("x" * 10_000, "x" * 4_096),
        (None, ""),
        (7, ""),
        ([], ""),
        ([7], ""),
        ({}, ""),
        ({"error": {"message": 7}}, ""),
        ({"error": {"message": "no", "metadata": {"raw": 7}}}, "no"),
    ],
)
def test_finds_the_message(body: object, message: str) -> None:
    """Every wire has its own place; what has none has no message."""
    assert ErrorBody.read(body).message == message


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        ({"code": 429}, None, 429),
        ({"code": "429"}, None, 429),
        ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, "RESOURCE_EXHAUSTED", 429),
        ({"code": "1300"}, "1300", None),
        ({"code": 1300}, None, None),
        ({"code": True}, None, None),
        ({"code": None, "status": 500}, None, 500),
        ({"statusCode": 429}, None, 429),
        ({"status_code": "503"}, None, 503),
        ({"error_code": 18}, None, None),
        ({"code": "slow_down", "status": 429}, "slow_down", 429),
        ({"code": "1300", "raw_status_code": 429}, "1300", 429),
        ({"code": 40303, "status": "busy"}, "busy", None),
        ({"Code": "ThrottlingException"}, "ThrottlingException", None),
    ],
)
def test_tells_a_code_from_a_status(
    error: dict[str, Any], code: str | None, status: int | None
) -> None:
    """Some providers repeat the HTTP status as code; it says nothing more."""
    body = ErrorBody.read({"error": error})

    assert (body.code, body.status) == (code, status)


def test_the_reason_of_google_is_the_finer_code() -> None:
    """ErrorInfo tells a bad key from a bad request; other details and odd ones do not matter."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    details: list[Any] = [7, {"@type": "google.rpc.Help"}, info]
    body = ErrorBody.read({"error": {"status": "INVALID_ARGUMENT", "details": details}})

    assert body.code == "API_KEY_INVALID"
    assert body.details == ({"@type": "google.rpc.Help"}, info)


def test_a_reason_that_is_no_text_leaves_the_status() -> None:
    """A detail of the wrong shape is as good as absent."""
    details = [{"@type": "google.rpc.ErrorInfo", "reason": 7}]
    body = ErrorBody.read({"error": {"status": "INVALID_ARGUMENT", "details": details}})

    assert body.code == "INVALID_ARGUMENT"


def test_errors_in_errors_are_followed_only_so_far() -> None:
    """Nesting without an end ends."""
    body: dict[str, Any] = {"message": "deep"}
    for _ in range(100):
        body = {"error": body}

    assert ErrorBody.read(body) == ErrorBody(is_of_an_api=True)


@given(st.text() | st.binary() | st.builds("{{{}".format, st.text()))
def test_any_text_can_be_read(text: str | bytes) -> None:
    """Nothing is raised, and reading the same again gives the same."""
    body = ErrorBody.read(text)

    assert body == ErrorBody.read(text)
    assert len(body.message) <= 4_096


def test_a_code_beside_an_error_that_is_a_text_counts() -> None:
    """Ollama and Hugging Face have their words under ``error``, and the rest beside it."""
    body = ErrorBody.read({"error": "overloaded", "error_type": "overloaded_error", "code": 503})
    assert (body.message, body.status, body.kind) == ("overloaded", 503, "overloaded_error")
