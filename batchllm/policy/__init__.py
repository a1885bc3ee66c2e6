"""Decisions as pure functions and values: the time and the randomness are arguments."""

from batchllm.policy.backoff import RetryBudget, RetrySchedule
from batchllm.policy.durations import LONGEST, parse_duration, parse_moment
from batchllm.policy.error_body import ErrorBody
from batchllm.policy.error_hints import EXHAUSTED_CODES, can_never_pass
from batchllm.policy.hints import read_error, read_headers

__all__ = [
    "EXHAUSTED_CODES",
    "LONGEST",
    "ErrorBody",
    "RetryBudget",
    "RetrySchedule",
    "can_never_pass",
    "parse_duration",
    "parse_moment",
    "read_error",
    "read_headers",
]
