"""Admission: the AnyIO side of pace. One gate per quota scope."""

from batchllm.gate.callers import CallerLimits
from batchllm.gate.gate import Gate, Permit

__all__ = ["CallerLimits", "Gate", "Permit"]
