"""The life of one connection as a pure state machine: what happened, and what that permits.

The table below is the whole rule of re-use; ``docs/design/transport.md`` explains it. It makes
no I/O, so that every pair of state and event can be tested, and nothing else in this folder
decides whether a connection goes back to the pool or a request is sent again.

The enumerations are of integers since those hash in C: five steps a request then take 2 µs, not 12.
"""

from __future__ import annotations

from enum import IntEnum, auto
from itertools import product
from typing import Final

from attrs import define

__all__ = ["TABLE", "ConnectionState", "Event", "State", "Verdict"]


class State(IntEnum):
    """The state of a connection."""

    IDLE = auto()
    """Open, nothing under way, nothing unread."""
    SENDING = auto()
    """A request is leaving; no byte of its reply has arrived."""
    WAITING = auto()
    """The request has left; no byte of its reply has arrived."""
    HEAD = auto()
    """Part of the reply's head has arrived."""
    BODY = auto()
    """The head is whole, the body is not."""
    DONE = auto()
    """The reply is whole; the connection is held until it goes back to the pool."""
    DEAD = auto()
    """Closed, or to be closed."""


class Event(IntEnum):
    """The events in the life of a connection."""

    REQUEST = auto()
    """A request is about to be sent on it."""
    SENT = auto()
    """The last byte of the request was taken by the operating system."""
    BYTES = auto()
    """Bytes of a reply arrived, and its head is not whole yet."""
    HEAD = auto()
    """The head of the reply is whole."""
    END = auto()
    """The reply is whole, nothing came after it, and both sides keep the connection open."""
    LAST = auto()
    """The reply is whole and the last one: the server said so, or it ended with the connection."""
    SURPLUS = auto()
    """Bytes came that belong to no request: after a reply, or while nothing was under way."""
    STALE = auto()
    """A 408 that closes arrived in place of a reply: the server had given up waiting before."""
    EOF = auto()
    """The server closed its side."""
    LOST = auto()
    """The operating system reports the connection as reset or broken."""
    GARBAGE = auto()
    """The bytes that arrived are not HTTP, or pass a limit on their size."""
    LEFT = auto()
    """The caller was cancelled, ran out of time, or does not want the rest of the reply."""
    RELEASE = auto()
    """The caller is done with it and gives it back."""
    EXPIRED = auto()
    """It was idle for longer than connections are kept."""


class Verdict(IntEnum):
    """The action to take on a connection."""

    GO_ON = auto()
    """Nothing: the exchange goes on."""
    REUSE = auto()
    """Put it on the stack of idle connections."""
    DISCARD = auto()
    """Close it. A reply that is whole stays valid."""
    REPLAY = auto()
    """Close it, and send the request once more on another connection."""
    FAIL = auto()
    """Close it; the request has failed."""


_S, _E, _V = State, Event, Verdict

TABLE: Final[dict[tuple[State, Event], tuple[State, Verdict]]] = {
    (_S.IDLE, _E.REQUEST): (_S.SENDING, _V.GO_ON),
    (_S.SENDING, _E.SENT): (_S.WAITING, _V.GO_ON),
    # A server may refuse a long request before it has read all of it.
    (_S.SENDING, _E.BYTES): (_S.HEAD, _V.GO_ON),
    (_S.SENDING, _E.HEAD): (_S.BODY, _V.GO_ON),
    (_S.WAITING, _E.BYTES): (_S.HEAD, _V.GO_ON),
    (_S.WAITING, _E.HEAD): (_S.BODY, _V.GO_ON),
    (_S.HEAD, _E.BYTES): (_S.HEAD, _V.GO_ON),
    (_S.HEAD, _E.HEAD): (_S.BODY, _V.GO_ON),
    (_S.BODY, _E.END): (_S.DONE, _V.GO_ON),
    (_S.BODY, _E.LAST): (_S.DEAD, _V.DISCARD),
    (_S.BODY, _E.SURPLUS): (_S.DEAD, _V.DISCARD),
    (_S.BODY, _E.STALE): (_S.DEAD, _V.REPLAY),
    (_S.DONE, _E.RELEASE): (_S.IDLE, _V.REUSE),
    (_S.DONE, _E.SURPLUS): (_S.DEAD, _V.DISCARD),
    **{
        (state, event): (_S.DEAD, _V.DISCARD)
        for state in (_S.IDLE, _S.DONE)
        for event in (_E.EOF, _E.LOST, _E.LEFT, _E.EXPIRED, _E.GARBAGE, _E.SURPLUS)
    },
    # Nothing of a reply has arrived: the one case in which a request may go out again.
    **{
        (state, event): (_S.DEAD, _V.REPLAY)
        for state in (_S.SENDING, _S.WAITING)
        for event in (_E.EOF, _E.LOST)
    },
    **{
        (state, event): (_S.DEAD, _V.FAIL)
        for state in (_S.HEAD, _S.BODY)
        for event in (_E.EOF, _E.LOST)
    },
    **{
        (state, _E.GARBAGE): (_S.DEAD, _V.FAIL)
        for state in (_S.SENDING, _S.WAITING, _S.HEAD, _S.BODY)
    },
    **{
        (state, _E.LEFT): (_S.DEAD, _V.DISCARD)
        for state in (_S.SENDING, _S.WAITING, _S.HEAD, _S.BODY)
    },
}
"""From state and event to the next state and the verdict. A pair that is missing cannot occur,
and is answered like a broken connection: ``DEAD`` and ``FAIL``, or ``DISCARD`` if nothing is
under way. ``REPLAY`` holds on a connection that has answered before, and is ``FAIL`` on a new one.
"""


def _fill_in() -> dict[tuple[State, Event], tuple[State, Verdict]]:
    """Return the table with an answer for every pair."""
    every = {}
    for state, event in product(State, Event):
        at_rest = state in (State.IDLE, State.DONE, State.DEAD)
        missing = (State.DEAD, Verdict.DISCARD if at_rest else Verdict.FAIL)
        every[state, event] = TABLE.get((state, event), missing)
    return every


_EVERY: Final = _fill_in()
# Names of their own, since looking a member up in its enumeration costs as much as the table.
_DONE, _DEAD, _REPLAY, _FAIL = State.DONE, State.DEAD, Verdict.REPLAY, Verdict.FAIL


@define(eq=False)
class ConnectionState:
    """The state of one connection, and the replies that it has carried.

    Attributes:
        state: Changed by :meth:`on` only.
        served: Whole replies so far; a request is replayed only if there was one.
        reason: The event that ended it, for the statistics.
    """

    state: State = State.IDLE
    served: int = 0
    reason: Event | None = None

    def on(self, event: Event) -> Verdict:
        """Take note of *event* and return what is to be done.

        Nothing revives a dead connection: every further event is ``DISCARD``.
        """
        before = self.state
        after, verdict = _EVERY[before, event]
        self.state = after
        if after is _DONE:
            self.served += 1
        elif after is _DEAD and before is not _DEAD:
            self.reason = event
            if verdict is _REPLAY and not self.served:
                return _FAIL
        return verdict
