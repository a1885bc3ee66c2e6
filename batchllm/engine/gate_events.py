"""The events of gates, and what a run makes of them: the log, observers, the feed, the end.

The log has each pause with its cause and length, and each limit that is adopted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any, assert_never

from attrs import define

from batchllm.core import EndCause, ProcessingEvent, Termination, counted
from batchllm.engine.ending import DRAIN, Ending
from batchllm.engine.events import Events
from batchllm.engine.gates import Gates
from batchllm.engine.waiting import Wakeup
from batchllm.gate import Gate
from batchllm.policy import (
    OUTAGE,
    CapLearned,
    CapReported,
    CooldownEnded,
    EndpointDown,
    EpisodeStarted,
    GateEvent,
    LimitAdopted,
    OutageEnded,
    OutageStarted,
    PaceLearned,
    PauseLengthened,
    ScopeParked,
    limit_in_words,
)

__all__ = ["GateWatch"]

logger = logging.getLogger("batchllm")

_LONG = 60.0
"""Seconds of a pause from which on the log also says until when, on the clock on the wall."""


@define(eq=False)
class GateWatch:
    """Takes in the events of one run's gates.

    Args:
        events: On their way to observers.
        gates: Those of the run.
        ending: The run drains when no scope is left that can be called; ``None`` for a pool,
            which outlives a parked scope: its owner may open the gate again, and an endpoint
            that is down is tried from time to time.
        wakeup: Of the feed: a pause lets items out of the window, and its end lets them in.
    """

    events: Events
    gates: Gates
    ending: Ending | None
    wakeup: Wakeup

    def on_gate_event(self, gate: Gate, event: GateEvent) -> None:
        """Log *event* of *gate*, emit it, and act on it."""
        scope = str(gate.scope or "every scope")
        _log_event(scope, event)
        for name, data in _as_processing_events(event):
            self.events.emit(name, {"scope": scope, **data})
        self.wakeup.wake()
        if isinstance(event, ScopeParked | EndpointDown):
            self._given_up(gate, event)

    def _given_up(self, gate: Gate, event: ScopeParked | EndpointDown) -> None:
        if self.ending is None or not self.gates.all_gave_up():
            return
        if isinstance(event, EndpointDown):
            end = Termination(EndCause.ENDPOINT_DOWN, _down_in_words(gate, event))
        else:
            reason = (
                f"the quota scope {gate.scope} is parked ({event.cause}); run the rest again "
                "when its quota is back"
            )
            end = Termination(EndCause.PARKED, reason)
        self.ending.request(DRAIN, end)


def _down_in_words(gate: Gate, event: EndpointDown) -> str:
    what = "gave no answer" if event.answered else "never gave an answer"
    remedy = (
        "run the rest again when it can be reached, or raise outage_after to wait longer"
        if event.answered
        else "check its address and that it can be reached from here, then run the rest again"
    )
    scope = gate.scope or "every scope"
    last = f"; the last call failed with: {event.reason}" if event.reason else ""
    return f"the endpoint of {scope} {what} for {event.length:.0f} s{last}; {remedy}"


def _log_event(scope: str, event: GateEvent) -> None:
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
        case OutageStarted(at=at, until=until, failures=failures, reason=reason):
            text = (
                "Endpoint not answering: the last %d calls all failed by connection, server error "
                "or timeout%s; calls pause, and one tries it in %s (%s)"
            )
            last = f", the last with: {reason}" if reason else ""
            logger.warning(text, failures, last, _length(until - at), scope)
        case OutageEnded(length=length):
            logger.warning("Endpoint answers again after %.1f s (%s)", length, scope)
        case EndpointDown(length=length, answered=answered):
            text = "Endpoint given up: it %s for %.1f s (%s)"
            what = "gave no answer" if answered else "never gave an answer"
            logger.warning(text, what, length, scope)
        case LimitAdopted(limit=limit, source=source):
            text = "Limit adopted: %s, from %s, for %s"
            logger.info(text, limit_in_words(limit), source, scope)
        case CapReported(calls=calls, source=source):
            text = "Limit adopted: %s at a time, from %s, for %s"
            logger.info(text, counted(calls, "call"), source, scope)
        case ScopeParked(cause=cause):
            logger.warning("Scope parked: %s; no call of it is made any more (%s)", cause, scope)
        case _:
            pass


def _length(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < _LONG:
        # A pause of 0.02 s in tenths would read as none, and one of 2 ms in hundredths.
        return f"{max(seconds, 0.01):.2f} s" if seconds < 0.1 else f"{seconds:.1f} s"
    clock = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
    return f"{seconds:.1f} s, until {clock}"


def _as_processing_events(event: GateEvent) -> Iterator[tuple[ProcessingEvent, dict[str, Any]]]:
    """Translate what a gate reports into what observers get."""
    match event:
        case EpisodeStarted(at=at, cause=cause, until=until, hinted=hinted):
            data = {"cause": cause, "seconds": max(0.0, until - at), "hinted": hinted}
            yield ProcessingEvent.RATE_LIMIT_HIT, data
            yield ProcessingEvent.COOLDOWN_STARTED, data
        case PauseLengthened(at=at, cause=cause, until=until, hinted=hinted):
            data = {"cause": cause, "seconds": max(0.0, until - at), "hinted": hinted}
            yield ProcessingEvent.PAUSE_LENGTHENED, data
        case CooldownEnded(cause=cause, length=length):
            yield ProcessingEvent.COOLDOWN_ENDED, {"cause": cause, "seconds": length}
        case PaceLearned(rate=rate):
            yield ProcessingEvent.QUOTA_LEARNED, {"pace": rate, "rate": rate}
        case CapLearned(calls=calls):
            yield ProcessingEvent.QUOTA_LEARNED, {"calls": calls}
        case LimitAdopted(limit=limit, source=source):
            data = {"dimension": limit.dimension, "amount": limit.amount, "per": limit.per}
            yield ProcessingEvent.LIMIT_ADOPTED, {**data, "source": source}
        case CapReported(calls=calls, source=source):
            data = {"dimension": "concurrency", "amount": calls, "per": None}
            yield ProcessingEvent.LIMIT_ADOPTED, {**data, "source": source}
        case OutageStarted(at=at, until=until, failures=failures, reason=reason):
            data = {"failures": failures, "seconds": max(0.0, until - at), "reason": reason}
            yield ProcessingEvent.OUTAGE_STARTED, data
        case OutageEnded(length=length):
            yield ProcessingEvent.OUTAGE_ENDED, {"seconds": length}
        case EndpointDown(length=length, answered=answered, reason=reason):
            data = {"seconds": length, "answered": answered, "reason": reason}
            yield ProcessingEvent.ENDPOINT_DOWN, data
        case ScopeParked(cause=cause):
            yield ProcessingEvent.SCOPE_PARKED, {"cause": cause}
        case _:
            assert_never(event)
