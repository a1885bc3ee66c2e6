"""The former name of ``events``, for the modules that still import it."""

from batchllm.policy.events import (
    BracketMoved,
    CooldownEnded,
    EpisodeStarted,
    GateEvent,
    GateSnapshot,
    ScopeParked,
    Send,
)

__all__ = [
    "BracketMoved",
    "CooldownEnded",
    "EpisodeStarted",
    "GateEvent",
    "GateSnapshot",
    "ScopeParked",
    "Send",
]
