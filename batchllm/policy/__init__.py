"""Decisions as pure functions and values: the time and the randomness are arguments."""

from batchllm.policy.backoff import RetryBudget, RetrySchedule
from batchllm.policy.bucket import Limit, Settlement
from batchllm.policy.concurrency_search import ConcurrencySearch
from batchllm.policy.cooldown import Cause, CooldownPolicy, Parked
from batchllm.policy.durations import LONGEST, parse_duration, parse_moment
from batchllm.policy.error_body import ErrorBody
from batchllm.policy.error_hints import EXHAUSTED_CODES, can_never_pass
from batchllm.policy.gate_news import (
    BracketMoved,
    CooldownEnded,
    EpisodeStarted,
    GateEvent,
    GateSnapshot,
    ScopeParked,
    Send,
)
from batchllm.policy.hedge import HedgeMind
from batchllm.policy.hints import read_error, read_headers
from batchllm.policy.json_reading import (
    JsonError,
    decode_text,
    is_replaced,
    mend,
    mended_text,
    python_json,
    read_as,
    read_json,
)
from batchllm.policy.pace import FIRST_CALLS, GateMind
from batchllm.policy.quota_search import Learned
from batchllm.policy.tokens import TokenEstimator, prompt_bytes, strict_input_bound

__all__ = [
    "EXHAUSTED_CODES",
    "FIRST_CALLS",
    "LONGEST",
    "BracketMoved",
    "Cause",
    "ConcurrencySearch",
    "CooldownEnded",
    "CooldownPolicy",
    "EpisodeStarted",
    "ErrorBody",
    "GateEvent",
    "GateMind",
    "GateSnapshot",
    "HedgeMind",
    "JsonError",
    "Learned",
    "Limit",
    "Parked",
    "RetryBudget",
    "RetrySchedule",
    "ScopeParked",
    "Send",
    "Settlement",
    "TokenEstimator",
    "can_never_pass",
    "decode_text",
    "is_replaced",
    "mend",
    "mended_text",
    "parse_duration",
    "parse_moment",
    "prompt_bytes",
    "python_json",
    "read_as",
    "read_error",
    "read_headers",
    "read_json",
    "strict_input_bound",
]
