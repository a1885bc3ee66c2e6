"""The laws of re-use, over every sequence of events."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.transport.connection import TABLE, ConnectionState, Event, State, Verdict

EVENTS = st.lists(st.sampled_from(Event), max_size=30)
NO_BYTE_YET = (State.SENDING, State.WAITING)
UNDER_WAY = (*NO_BYTE_YET, State.HEAD, State.BODY)
WHOLE_EXCHANGE = (Event.REQUEST, Event.SENT, Event.HEAD, Event.END, Event.RELEASE)


@given(EVENTS)
def test_only_a_whole_reply_with_nothing_after_it_leads_back_to_the_pool(
    events: list[Event],
) -> None:
    """Re-use follows a release, which follows the end of a reply, and nothing else."""
    connection = ConnectionState()
    before: Event | None = None
    for event in events:
        if connection.on(event) is Verdict.REUSE:
            assert (before, event) == (Event.END, Event.RELEASE)
            assert connection.state is State.IDLE
        before = event


@given(EVENTS)
def test_dead_is_for_good(events: list[Event]) -> None:
    """No event revives a connection, fails a request on it, or sends one again."""
    connection = ConnectionState(state=State.DEAD)
    assert {connection.on(event) for event in events} <= {Verdict.DISCARD}
    assert connection.state is State.DEAD


@given(EVENTS)
def test_a_request_is_replayed_only_before_the_first_byte_on_a_used_connection(
    events: list[Event],
) -> None:
    """A replay needs a reply before this one, and none of this one; a 408 that closes is none."""
    connection = ConnectionState()
    for event in events:
        before, served = connection.state, connection.served
        if connection.on(event) is Verdict.REPLAY:
            assert served > 0
            assert connection.state is State.DEAD
            assert before in NO_BYTE_YET or event is Event.STALE


@given(EVENTS)
def test_whatever_ends_a_connection_is_kept_as_the_reason(events: list[Event]) -> None:
    """A dead connection names the event that ended it; a live one names none."""
    connection = ConnectionState()
    for event in events:
        was_dead = connection.state is State.DEAD
        connection.on(event)
        if connection.state is State.DEAD and not was_dead:
            assert connection.reason is event
        elif connection.state is not State.DEAD:
            assert connection.reason is None


@pytest.mark.parametrize("state", UNDER_WAY)
@pytest.mark.parametrize("event", [Event.EOF, Event.LOST, Event.GARBAGE])
def test_a_failure_under_way_ends_the_request(state: State, event: Event) -> None:
    """On a connection that has answered nothing yet, each failure of the wire is one."""
    assert ConnectionState(state=state).on(event) is Verdict.FAIL


@pytest.mark.parametrize("state", [state for state in State if state is not State.DEAD])
def test_whoever_leaves_closes_the_connection(state: State) -> None:
    """A cancelled or timed out request never gives its connection back."""
    connection = ConnectionState(state=state, served=1)
    assert connection.on(Event.LEFT) is Verdict.DISCARD
    assert connection.state is State.DEAD


@pytest.mark.parametrize("state", [State.IDLE, State.DONE, State.BODY])
def test_surplus_bytes_discard(state: State) -> None:
    """Bytes that belong to no request end the connection, and no reply with it."""
    assert ConnectionState(state=state).on(Event.SURPLUS) is Verdict.DISCARD


def test_every_pair_has_an_answer() -> None:
    """No state is left without a way out, and no pair raises."""
    for state, event in itertools.product(State, Event):
        connection = ConnectionState(state=state)
        verdict = connection.on(event)
        if (state, event) not in TABLE:
            assert connection.state is State.DEAD
            assert verdict is (Verdict.FAIL if state in UNDER_WAY else Verdict.DISCARD)


def test_a_connection_serves_many_requests() -> None:
    """Whole exchanges follow each other, and are counted."""
    connection = ConnectionState()
    for _ in range(3):
        verdicts = [connection.on(event) for event in WHOLE_EXCHANGE]
        assert verdicts == [Verdict.GO_ON] * 4 + [Verdict.REUSE]
    assert connection.served == 3
