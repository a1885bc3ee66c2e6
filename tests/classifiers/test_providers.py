"""The meaning of each provider's errors, as their wires and their SDKs give them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from batchllm.classifiers import (
    AnthropicErrorClassifier,
    DefaultErrorClassifier,
    GeminiErrorClassifier,
    OpenAIErrorClassifier,
)
from batchllm.core import Category, ErrorInfo, Outcome, ProviderError


class SDKError(Exception):
    """A stranger's exception with a status and a body."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__("failed")
        self.status_code, self.body = status, body


def openai_error(message: str, code: Any = None, kind: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic_error(kind: str, message: str = "no") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def google_error(
    status: int, name: str, message: str = "no", *details: dict[str, Any]
) -> dict[str, Any]:
    error = {"code": status, "status": name, "message": message, "details": list(details)}
    return {"error": error}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (429, openai_error("no", "insufficient_quota"), Category.INSUFFICIENT_QUOTA),
        (429, openai_error("no", "rate_limit_exceeded", "tokens"), Category.RATE_LIMIT),
        (429, openai_error("Please retry after 7 seconds.", "429"), Category.RATE_LIMIT),
        (429, openai_error("Rate limit of 5 per 60s", "RateLimitReached"), Category.RATE_LIMIT),
        (429, openai_error("token budget exceeded by request parameters"), Category.TOO_LARGE),
        (400, openai_error("filtered", "content_filter"), Category.FILTERED),
        (401, openai_error("off", "account_deactivated"), Category.AUTHENTICATION),
        (403, openai_error("no", "unsupported_country_region_territory"), Category.PERMISSION),
        (413, openai_error("no", "tokens_limit_reached"), Category.TOO_LARGE),
        (403, openai_error("Input was flagged", 403), Category.FILTERED),
        (404, openai_error("No endpoints found for x", 404), Category.MODEL_NOT_FOUND),
        (400, openai_error("x is not a valid model ID", 400), Category.MODEL_NOT_FOUND),
        (400, openai_error("bad", 400, "BadRequestError"), Category.INVALID_REQUEST),
        (404, openai_error("The model `x` does not exist.", 404), Category.MODEL_NOT_FOUND),
        (429, {"object": "error", "message": "m", "code": "1300"}, Category.RATE_LIMIT),
        (429, {"object": "error", "message": "m", "code": "3505"}, Category.RATE_LIMIT),
        (429, {"message": "Requests rate limit exceeded"}, Category.RATE_LIMIT),
        (422, {"detail": [{"loc": ["body"], "msg": "no"}]}, Category.INVALID_REQUEST),
        (400, openai_error("no", "json_validate_failed"), Category.BAD_OUTPUT),
        (402, openai_error("Insufficient Balance"), Category.INSUFFICIENT_QUOTA),
        (404, {"error": "model 'x' not found"}, Category.MODEL_NOT_FOUND),
        (503, {"error": "server busy, please try again."}, Category.OVERLOADED),
        (503, openai_error("no", "server_is_overloaded"), Category.OVERLOADED),
        (502, "<html>no</html>", Category.SERVER_ERROR),
        (200, openai_error("no", 429), Category.RATE_LIMIT),
        (200, {"type": "error", "code": "server_error", "message": "m"}, Category.SERVER_ERROR),
        (
            200,
            {"type": "response.failed", "response": openai_error("m", "rate_limit_exceeded")},
            Category.RATE_LIMIT,
        ),
    ],
)
def test_reads_the_openai_family(status: int, body: Any, expected: Category) -> None:
    """OpenAI, Azure, OpenRouter, vLLM, Mistral, Groq, DeepSeek, Ollama."""
    info = OpenAIErrorClassifier().classify(SDKError(status, body))

    assert info.error_category == expected
    assert info.is_rate_limit == (expected == Category.RATE_LIMIT)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, anthropic_error("invalid_request_error"), Category.INVALID_REQUEST),
        (
            400,
            anthropic_error("invalid_request_error", "prompt is too long: 9 > 8"),
            Category.TOO_LARGE,
        ),
        (
            400,
            anthropic_error("invalid_request_error", "You reached your specified API usage limits"),
            Category.INSUFFICIENT_QUOTA,
        ),
        (401, anthropic_error("authentication_error"), Category.AUTHENTICATION),
        (402, anthropic_error("billing_error"), Category.INSUFFICIENT_QUOTA),
        (403, anthropic_error("permission_error"), Category.PERMISSION),
        (404, anthropic_error("not_found_error", "model: claude-x"), Category.MODEL_NOT_FOUND),
        (404, anthropic_error("not_found_error", "batch"), Category.NOT_FOUND),
        (409, anthropic_error("conflict_error"), Category.SERVER_ERROR),
        (413, "<html>too large</html>", Category.TOO_LARGE),
        (429, anthropic_error("rate_limit_error"), Category.RATE_LIMIT),
        (
            429,
            anthropic_error("rate_limit_error", "enforced_spend_limit_reached"),
            Category.INSUFFICIENT_QUOTA,
        ),
        (500, anthropic_error("api_error"), Category.SERVER_ERROR),
        (504, anthropic_error("timeout_error"), Category.SERVER_ERROR),
        (529, anthropic_error("overloaded_error"), Category.OVERLOADED),
        (200, anthropic_error("overloaded_error", "Overloaded"), Category.OVERLOADED),
        (200, anthropic_error("rate_limit_error"), Category.RATE_LIMIT),
    ],
)
def test_reads_anthropic(status: int, body: Any, expected: Category) -> None:
    """By type, by status after a stream's 200, and by words where both say too little."""
    info = AnthropicErrorClassifier().classify(SDKError(status, body))

    assert info.error_category == expected


INVALID_KEY = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, google_error(400, "INVALID_ARGUMENT"), Category.INVALID_REQUEST),
        (400, google_error(400, "INVALID_ARGUMENT", "no", INVALID_KEY), Category.AUTHENTICATION),
        (400, google_error(400, "INVALID_ARGUMENT", "API key not valid."), Category.AUTHENTICATION),
        (
            400,
            google_error(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum"),
            Category.TOO_LARGE,
        ),
        (400, google_error(400, "FAILED_PRECONDITION"), Category.PERMISSION),
        (402, google_error(402, "UNKNOWN"), Category.INSUFFICIENT_QUOTA),
        (403, google_error(403, "PERMISSION_DENIED"), Category.PERMISSION),
        (403, google_error(403, "PERMISSION_DENIED", "CachedContent gone"), Category.NOT_FOUND),
        (404, google_error(404, "NOT_FOUND", "CachedContent not found"), Category.NOT_FOUND),
        (404, google_error(404, "NOT_FOUND", "models/x is not found"), Category.MODEL_NOT_FOUND),
        (429, google_error(429, "RESOURCE_EXHAUSTED"), Category.RATE_LIMIT),
        (
            429,
            google_error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota"),
            Category.RATE_LIMIT,
        ),
        (429, {"error": {"code": "quota_exceeded", "message": "no"}}, Category.RATE_LIMIT),
        (499, google_error(499, "CANCELLED"), Category.SERVER_ERROR),
        (500, google_error(500, "INTERNAL"), Category.SERVER_ERROR),
        (503, google_error(503, "UNAVAILABLE", "The model is overloaded."), Category.OVERLOADED),
        (504, google_error(504, "DEADLINE_EXCEEDED"), Category.SERVER_ERROR),
        (200, [google_error(503, "UNAVAILABLE")], Category.OVERLOADED),
    ],
)
def test_reads_gemini(status: int, body: Any, expected: Category) -> None:
    """By Google's statuses and reasons."""
    info = GeminiErrorClassifier().classify(SDKError(status, body))

    assert info.error_category == expected


def test_a_daily_quota_parks_the_scope() -> None:
    """Gemini's per-day violation is a rate limit without a wait, marked as exhausted."""
    quota = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerDayPerProject", "quotaValue": "20"}],
    }
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "5s"}
    body = google_error(429, "RESOURCE_EXHAUSTED", "Please retry in 5s.", quota, retry)

    info = GeminiErrorClassifier().classify(SDKError(429, body))

    assert info.is_rate_limit
    assert info.suggested_wait is None
    assert info.hint is not None
    assert info.hint.exhausted


def test_unavailable_is_an_overload_whoever_says_it() -> None:
    """It is Google's word for overload, and elsewhere as much as a bare 503."""
    error = ProviderError("no", status=503, code="UNAVAILABLE")

    assert DefaultErrorClassifier().classify(error).outcome == Outcome.OVERLOADED
    assert GeminiErrorClassifier().classify(error).outcome == Outcome.OVERLOADED


def reply(status: int, body: Any, library: Any = httpx, **headers: str) -> Any:
    request = library.Request("POST", "https://provider.test/v1")
    return library.Response(status, json=body, headers=headers, request=request)


class TestSDKs:
    """The real exceptions of installed SDKs."""

    def limited(self, info: ErrorInfo, wait: float) -> None:
        assert info.is_rate_limit
        assert info.suggested_wait == wait

    def test_openai(self) -> None:
        """Its status errors carry response and body, its connection errors a type."""
        openai = pytest.importorskip("openai")
        classify = OpenAIErrorClassifier().classify
        body = openai_error("no", "rate_limit_exceeded", "requests")
        response = reply(429, body, **{"retry-after-ms": "644"})
        empty = openai_error("no", "insufficient_quota", "insufficient_quota")["error"]
        request = response.request

        self.limited(
            classify(openai.RateLimitError("no", response=response, body=body["error"])), 0.644
        )
        out_of_money = openai.RateLimitError("no", response=response, body=empty)
        assert classify(out_of_money).error_category == Category.INSUFFICIENT_QUOTA
        assert classify(openai.APITimeoutError(request)).is_timeout
        failed = openai.APIConnectionError(request=request)
        assert classify(failed).error_category == Category.CONNECTION
        midway = openai.APIError("no", request=request, body=openai_error("no", "server_error"))
        assert classify(midway).error_category == Category.SERVER_ERROR

    def test_anthropic(self) -> None:
        """Its overload is a status of its own."""
        anthropic = pytest.importorskip("anthropic")
        classify = AnthropicErrorClassifier().classify
        body = anthropic_error("rate_limit_error")
        response = reply(429, body, **{"retry-after": "3"})
        overloaded = anthropic_error("overloaded_error")

        self.limited(classify(anthropic.RateLimitError("no", response=response, body=body)), 3.0)
        error = anthropic.APIStatusError("no", response=reply(529, overloaded), body=overloaded)
        assert classify(error).outcome == Outcome.OVERLOADED
        assert classify(anthropic.APITimeoutError(response.request)).is_timeout

    def test_google_genai(self) -> None:
        """Its code is the status, its status the code, its details the body."""
        errors = pytest.importorskip("google.genai.errors")
        classify = GeminiErrorClassifier().classify
        retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}
        body = google_error(429, "RESOURCE_EXHAUSTED", "no", retry)

        self.limited(classify(errors.ClientError(429, body)), 36.0)
        error = errors.ServerError(503, google_error(503, "UNAVAILABLE"))
        assert classify(error).outcome == Outcome.OVERLOADED

    def test_pydantic_ai(self) -> None:
        """Its HTTP errors carry status and body, and its bad output is a type of its own."""
        exceptions = pytest.importorskip("pydantic_ai.exceptions")
        classify = DefaultErrorClassifier().classify
        error = exceptions.ModelHTTPError(429, "m", openai_error("try again in 2s")["error"])

        self.limited(classify(error), 2.0)
        bad = exceptions.UnexpectedModelBehavior("no")
        assert classify(bad).error_category == Category.BAD_OUTPUT

    def test_pydantic(self) -> None:
        """A validation error is a ValueError."""
        pydantic = pytest.importorskip("pydantic")
        with pytest.raises(pydantic.ValidationError) as caught:
            pydantic.TypeAdapter(int).validate_python("no")

        assert DefaultErrorClassifier().classify(caught.value).error_category == "bad_output"

    def test_msgspec(self) -> None:
        """A validation error is none of the builtin ones."""
        msgspec = pytest.importorskip("msgspec")
        with pytest.raises(msgspec.ValidationError) as caught:
            msgspec.convert("no", int)

        assert DefaultErrorClassifier().classify(caught.value).error_category == "bad_output"

    def test_cattrs(self) -> None:
        """A validation error is a group, and is not taken apart."""
        cattrs = pytest.importorskip("cattrs")
        with pytest.raises(cattrs.BaseValidationError) as caught:
            cattrs.structure(["no"], list[int])

        assert DefaultErrorClassifier().classify(caught.value).error_category == "bad_output"
