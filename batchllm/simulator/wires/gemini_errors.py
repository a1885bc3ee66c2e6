"""Error bodies of Gemini and Vertex, with the details that name quota and wait."""

from collections.abc import Mapping
from typing import Any

from batchllm.simulator.wires.durations import protobuf_duration
from batchllm.simulator.wires.exchange import Context, Problem, ProblemKind

_TYPES = "type.googleapis.com/google.rpc"
_STATUSES: Mapping[ProblemKind, str] = {
    "authentication": "UNAUTHENTICATED",
    "billing": "FAILED_PRECONDITION",
    "permission": "PERMISSION_DENIED",
    "not_found": "NOT_FOUND",
    "timeout": "CANCELLED",
    "conflict": "ABORTED",
    "rate_limit": "RESOURCE_EXHAUSTED",
    "daily_limit": "RESOURCE_EXHAUSTED",
    "request_too_large": "RESOURCE_EXHAUSTED",
    "insufficient_quota": "RESOURCE_EXHAUSTED",
    "slow_down": "RESOURCE_EXHAUSTED",
    "server_error": "INTERNAL",
    "overloaded": "UNAVAILABLE",
    "gateway_timeout": "DEADLINE_EXCEEDED",
}
_QUOTAS = {
    "requests": (
        "generate_content_free_tier_requests",
        "GenerateRequestsPerMinutePerProjectPerModel",
    ),
    "requests_per_day": (
        "generate_content_free_tier_requests",
        "GenerateRequestsPerDayPerProjectPerModel",
    ),
    "tokens": (
        "generate_content_free_tier_input_token_count",
        "GenerateContentInputTokensPerModelPerMinute",
    ),
    "input_tokens": (
        "generate_content_free_tier_input_token_count",
        "GenerateContentInputTokensPerModelPerMinute",
    ),
}
_MISLEADING_DELAY = 5.0


def gemini_error(problem: Problem, context: Context, model: str) -> dict[str, Any]:
    """The JSON of an error; a quota comes with its name, size and wait unless hints are off."""
    status = _STATUSES.get(problem.kind, "INVALID_ARGUMENT")
    error: dict[str, Any] = {"code": problem.status, "message": problem.message, "status": status}
    if problem.kind == "context_length":
        error["message"] = (
            f"The input token count ({problem.requested or 0:.0f}) exceeds the maximum number of "
            f"tokens allowed ({problem.limit or 0:.0f})."
        )
    if status == "RESOURCE_EXHAUSTED":
        _explain(error, problem, context, model)
    if problem.kind == "authentication":
        info = {"@type": f"{_TYPES}.ErrorInfo", "reason": "API_KEY_INVALID"}
        error |= {"code": 400, "status": "INVALID_ARGUMENT", "details": [info]}
        error["message"] = "API key not valid. Please pass a valid API key."
    return {"error": error}


def _explain(error: dict[str, Any], problem: Problem, context: Context, model: str) -> None:
    quota = _QUOTAS.get(problem.dimension)
    if context.profile == "vertex" or quota is None or problem.limit is None:
        error["message"] = "Resource exhausted, please try again later."
        return
    metric, name = quota
    metric = f"generativelanguage.googleapis.com/{metric}"
    wait = context.retry_after
    if problem.kind == "daily_limit":
        wait = _MISLEADING_DELAY
    advice = f" Please retry in {protobuf_duration(wait)}." if isinstance(wait, float) else ""
    error["message"] = (
        "You exceeded your current quota, please check your plan and billing details. * Quota "
        f"exceeded for metric: {metric}, limit: {problem.limit:.0f}, model: {model}{advice}"
    )
    violation = {
        "quotaMetric": metric,
        "quotaId": f"{name}-FreeTier",
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": f"{problem.limit:.0f}",
    }
    details: list[dict[str, Any]] = [{"@type": f"{_TYPES}.QuotaFailure", "violations": [violation]}]
    if isinstance(wait, float):
        delay = protobuf_duration(wait)
        details.append({"@type": f"{_TYPES}.RetryInfo", "retryDelay": delay})
    error["details"] = details
