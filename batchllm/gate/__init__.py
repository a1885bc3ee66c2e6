"""Admission: the AnyIO side of pace. One gate per quota scope."""

from batchllm.gate.callers import CallerLimits
from batchllm.gate.gate import Gate
from batchllm.gate.lane import Refusal
from batchllm.gate.permit import Permit
from batchllm.gate.settings import check_gate, cooldown_policy, limiter_of_gate, per_minute

__all__ = [
    "CallerLimits",
    "Gate",
    "Permit",
    "Refusal",
    "check_gate",
    "cooldown_policy",
    "limiter_of_gate",
    "per_minute",
]
