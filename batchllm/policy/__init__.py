"""Decisions as pure functions and values: the time and the randomness are arguments."""

from batchllm.policy.backoff import RetryBudget, RetrySchedule
from batchllm.policy.bucket import Limit, Settlement
from batchllm.policy.concurrency_search import ConcurrencySearch
from batchllm.policy.cooldown import Cause, CooldownPolicy, Parked
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
from batchllm.policy.hints import (
    EXHAUSTED_CODES,
    LONGEST,
    ErrorBody,
    can_never_pass,
    is_own_address,
    parse_duration,
    parse_moment,
    read_error,
    read_headers,
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
    "is_own_address",
    "parse_duration",
    "parse_moment",
    "prompt_bytes",
    "read_error",
    "read_headers",
    "strict_input_bound",
]
