"""What observers are told, and when."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ProcessingEvent"]


class ProcessingEvent(StrEnum):
    """The events of a batch. Every event's data has ``timestamp`` (seconds since the epoch).

    Item events also have ``item_id``; those that end an item have ``duration`` (seconds),
    ``tokens`` (a mapping as ``TokenUsage``) and ``attempts``.
    """

    PROCESSING_STARTED = "processing_started"
    ITEM_STARTED = "item_started"
    ITEM_COMPLETED = "item_completed"
    ITEM_FAILED = "item_failed"
    ITEM_SKIPPED = "item_skipped"
    ITEM_RETRY = "item_retry"
    RATE_LIMIT_HIT = "rate_limit_hit"
    COOLDOWN_STARTED = "cooldown_started"
    PAUSE_LENGTHENED = "pause_lengthened"
    COOLDOWN_ENDED = "cooldown_ended"
    QUOTA_LEARNED = "quota_learned"
    LIMIT_ADOPTED = "limit_adopted"
    SCOPE_PARKED = "scope_parked"
    OUTAGE_STARTED = "outage_started"
    OUTAGE_ENDED = "outage_ended"
    ENDPOINT_DOWN = "endpoint_down"
    HEDGE_STARTED = "hedge_started"
    STOP_REQUESTED = "stop_requested"
    PROCESSING_COMPLETED = "processing_completed"
