"""Error bodies of the Chat Completions family, as each of its providers writes them."""

from collections.abc import Callable, Mapping
from typing import Any

from batchllm.simulator.wires.durations import go_duration
from batchllm.simulator.wires.exchange import Context, Problem, ProblemKind

_TYPE_AND_CODE: Mapping[ProblemKind, tuple[str, str | None]] = {
    "invalid_request": ("invalid_request_error", None),
    "context_length": ("invalid_request_error", "context_length_exceeded"),
    "content_filter": ("invalid_request_error", "content_policy_violation"),
    "authentication": ("invalid_request_error", "invalid_api_key"),
    "billing": ("insufficient_quota", "insufficient_balance"),
    "permission": ("invalid_request_error", "unsupported_country_region_territory"),
    "not_found": ("invalid_request_error", "model_not_found"),
    "timeout": ("timeout", "request_timeout"),
    "conflict": ("conflict_error", "lock_timeout"),
    "payload_too_large": ("invalid_request_error", "request_too_large"),
    "unprocessable": ("invalid_request_error", "unprocessable_entity"),
    "rate_limit": ("requests", "rate_limit_exceeded"),
    "daily_limit": ("requests", "rate_limit_exceeded"),
    "request_too_large": ("tokens", "rate_limit_exceeded"),
    "insufficient_quota": ("insufficient_quota", "insufficient_quota"),
    "slow_down": ("rate_limit_error", "slow_down"),
    "server_error": ("server_error", "server_error"),
    "overloaded": ("service_unavailable_error", "server_is_overloaded"),
    "gateway_timeout": ("server_error", "gateway_timeout"),
}

_LIMIT_WORDS = {
    "requests": "requests per min (RPM)",
    "tokens": "tokens per min (TPM)",
    "input_tokens": "input tokens per min (TPM)",
    "output_tokens": "output tokens per min (TPM)",
    "requests_per_day": "requests per day (RPD)",
    "concurrency": "concurrent requests",
}


def chat_error(problem: Problem, context: Context, model: str) -> dict[str, Any]:
    """The JSON of an error, in the words of the context's profile."""
    message = problem_message(problem, context, model)
    return _BODIES.get(context.profile, _openai)(problem, context, message)


def problem_message(problem: Problem, context: Context, model: str) -> str:
    """Return the provider's message; limits come with their numbers if these are known."""
    words = _LIMIT_WORDS.get(problem.dimension, problem.dimension)
    match problem.kind:
        case "rate_limit" | "daily_limit" if problem.limit is not None:
            return (
                f"Rate limit reached for {model} in organization org-sim on {words}: "
                f"Limit {problem.limit:.0f}, Used {problem.used or 0:.0f}, "
                f"Requested {problem.requested or 1:.0f}.{_try_again(context)}"
            )
        case "request_too_large":
            return (
                f"Request too large for {model} in organization org-sim on {words}: "
                f"Limit {problem.limit or 0:.0f}, Requested {problem.requested or 0:.0f}. "
                "The input or output tokens must be reduced in order to run successfully."
            )
        case "context_length":
            return (
                f"This model's maximum context length is {problem.limit or 0:.0f} tokens. "
                f"However, your messages resulted in {problem.requested or 0:.0f} tokens."
            )
        case _:
            return problem.message


def _try_again(context: Context) -> str:
    if isinstance(context.retry_after, float):
        return f" Please try again in {go_duration(context.retry_after)}."
    return ""


def _openai(problem: Problem, _context: Context, message: str) -> dict[str, Any]:
    kind, code = _TYPE_AND_CODE[problem.kind]
    if problem.kind == "rate_limit" and "tokens" in problem.dimension:
        kind = "tokens"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _azure(problem: Problem, context: Context, message: str) -> dict[str, Any]:
    if problem.kind == "rate_limit":
        wait = context.retry_after
        advice = f" Please retry after {wait:.0f} seconds." if isinstance(wait, float) else ""
        text = (
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have "
            f"exceeded call rate limit of your current pricing tier.{advice}"
        )
        return {"error": {"code": "429", "message": text}}
    if problem.kind == "content_filter":
        return {"error": _azure_filtered()}
    return _openai(problem, context, message)


def _azure_filtered() -> dict[str, Any]:
    verdict = {"hate": {"filtered": True, "severity": "high"}}
    return {
        "message": (
            "The response was filtered due to the prompt triggering Azure OpenAI's content "
            "management policy. Please modify your prompt and retry."
        ),
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": verdict},
    }


def _mistral(problem: Problem, _context: Context, message: str) -> dict[str, Any]:
    if problem.kind == "unprocessable":
        return {"detail": [{"loc": ["body", "messages"], "msg": message, "type": "value_error"}]}
    throttled = problem.kind == "rate_limit"
    return {
        "object": "error",
        "message": "Rate limit exceeded" if throttled else message,
        "type": "rate_limited" if throttled else _TYPE_AND_CODE[problem.kind][0],
        "param": None,
        "code": "1300" if throttled else None,
        "raw_status_code": problem.status,
    }


def _openrouter(problem: Problem, _context: Context, message: str) -> dict[str, Any]:
    metadata = {"provider_name": "Simulated", "raw": message}
    return {"error": {"code": problem.status, "message": message, "metadata": metadata}}


def _vllm(problem: Problem, _context: Context, message: str) -> dict[str, Any]:
    kind = "BadRequestError" if problem.status < 500 else "InternalServerError"
    return {"error": {"message": message, "type": kind, "param": None, "code": problem.status}}


def _ollama(problem: Problem, _context: Context, message: str) -> dict[str, Any]:
    if problem.kind == "overloaded":
        message = "server busy, please try again.  maximum pending requests exceeded"
    return {"error": {"message": message, "type": "api_error", "param": None, "code": None}}


_BODIES: Mapping[str, Callable[[Problem, Context, str], dict[str, Any]]] = {
    "azure": _azure,
    "azure-blind": _azure,
    "mistral": _mistral,
    "openrouter": _openrouter,
    "vllm": _vllm,
    "ollama": _ollama,
}
