"""The log of pace: each pause with its cause and length, each limit that is adopted."""

from __future__ import annotations

import logging
import time

from batchllm.policy import (
    OUTAGE,
    EndpointDown,
    EpisodeStarted,
    GateEvent,
    Limit,
    LimitAdopted,
    OutageEnded,
    OutageStarted,
    PauseLengthened,
    ScopeParked,
)

__all__ = ["limit_in_words", "log_event"]

logger = logging.getLogger("batchllm")

_LONG = 60.0
"""Seconds of a pause from which on the log also says until when, on the clock on the wall."""
_UNITS = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86_400.0: "day"}


def log_event(scope: str, event: GateEvent) -> None:
    """Write the line that *event* of *scope* deserves, if it does."""
    match event:
        case EpisodeStarted(at=at, cause=cause, until=until, hinted=hinted):
            text = "Rate limit detected: %s; calls pause for %s%s (%s)"
            asked = " as the server asked" if hinted else ""
            logger.warning(text, cause, _length(until - at), asked, scope)
        case PauseLengthened(at=at, cause=cause, until=until) if cause == OUTAGE:
            text = "Endpoint still not answering; the next call tries it in %s (%s)"
            logger.warning(text, _length(until - at), scope)
        case PauseLengthened(at=at, cause=cause, until=until, hinted=hinted):
            text = "The pause for %s grows; calls pause for %s more%s (%s)"
            asked = " as the server asked" if hinted else ""
            logger.warning(text, cause, _length(until - at), asked, scope)
        case OutageStarted(at=at, until=until, failures=failures):
            text = (
                "Endpoint not answering: the last %d items all failed by connection, server error "
                "or timeout; calls pause, and one tries it in %s (%s)"
            )
            logger.warning(text, failures, _length(until - at), scope)
        case OutageEnded(length=length):
            logger.warning("Endpoint answers again after %.1f s (%s)", length, scope)
        case EndpointDown(length=length, answered=answered):
            text = "Endpoint given up: it %s for %.1f s (%s)"
            what = "gave no answer" if answered else "never gave an answer"
            logger.warning(text, what, length, scope)
        case LimitAdopted(limit=limit, source=source):
            text = "Limit adopted: %s, from %s, for %s"
            logger.info(text, limit_in_words(limit), source, scope)
        case ScopeParked(cause=cause):
            logger.warning("Scope parked: %s; no call of it is made any more (%s)", cause, scope)
        case _:
            pass


def limit_in_words(limit: Limit) -> str:
    """Return *limit* as in ``"60 requests per minute"``."""
    unit = _UNITS.get(limit.per, f"{limit.per:g} s")
    return f"{limit.amount:,} {limit.dimension.replace('_', ' ')} per {unit}"


def _length(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < _LONG:
        return f"{seconds:.1f} s"
    clock = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
    return f"{seconds:.1f} s, until {clock}"
