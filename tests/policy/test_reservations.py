"""A gateway that reserves tokens up front refuses for what is free again with the next answer."""

from __future__ import annotations

import heapq
from math import inf
from random import Random

import pytest
from attrs import define, field

from batchllm.core import CallCost, LimitHint, Outcome, ServerHint
from batchllm.policy import RateLimiter
from batchllm.policy.adaptive import AdaptivePace
from batchllm.policy.admission import Admission
from batchllm.policy.call_cap import CallCap
from batchllm.policy.cooldown import Cause, State
from batchllm.policy.events import PaceLearned, Send
from batchllm.policy.reservations import Reservations

LIMIT, RESERVED, TAKEN = 3000, 751, 30
REFUSAL = ServerHint(
    wait=60.0, limits=(LimitHint(dimension="tokens", amount=LIMIT, remaining=0),)
)  # as LiteLLM words it, whatever is under way


def left(remaining: int) -> ServerHint:
    """The headers of an answer."""
    name = "x-ratelimit-api_key-tokens"
    limit = LimitHint(
        dimension="tokens", amount=LIMIT, remaining=remaining, name=name, source="headers"
    )
    return ServerHint(limits=(limit,))


@define
class Gateway:
    """A minute's tokens of one key, from its first call on; what was not used comes back late."""

    begun: float = -inf
    used: int = 0

    def admit(self, now: float) -> int | None:
        """Return what is left with this call, or ``None`` if it is refused."""
        if now >= self.begun + 60:
            self.begun, self.used = now, 0
        if self.used + RESERVED > LIMIT:
            return None
        self.used += RESERVED
        return LIMIT - self.used

    def settle(self, begun: float) -> None:
        """Give back what a call of the window that began at *begun* did not use."""
        if begun == self.begun:
            self.used -= RESERVED - TAKEN


@define
class Job:
    """130 items for twenty callers; seconds of answers and of refusals are drawn."""

    seed: int
    answers: tuple[float, float]
    late: float = 0.2
    refused: int = 0
    done: int = 0
    silence: float = 0.0
    rates: list[float] = field(factory=list)

    def run(self) -> float:
        """Return the seconds that it takes."""
        one, server, rng = RateLimiter(rng=Random(self.seed)), Gateway(), Random(self.seed)
        events: list[tuple[float, int, str, Send | None, float]] = []
        now = last = 0.0
        waiting, flying = 130, 0

        def later(at: float, what: str, send: Send | None, value: float = 0.0) -> None:
            heapq.heappush(events, (at, rng.getrandbits(60), what, send, value))

        while self.done < 130 and now < 1000:
            cost = CallCost(1, 20, 10) if one.counts_tokens else CallCost()
            at = one.next_time(now, cost) if waiting and flying < 20 else inf
            if at <= now:
                self.silence, last = max(self.silence, now - last), now
                waiting, flying = waiting - 1, flying + 1
                later(now + rng.uniform(0.003, 0.02), "arrives", one.on_send(now, cost))
                continue
            if not events or events[0][0] > at:
                now = at
                continue
            now, _, what, send, value = heapq.heappop(events)
            if what == "settles":
                server.settle(value)
                continue
            assert send is not None
            if what == "arrives":
                room = server.admit(now)
                if room is None:
                    later(now + rng.uniform(0.02, 0.1), "refused", send)
                else:
                    end = now + rng.uniform(*self.answers)
                    later(end, "answered", send, room)
                    later(end + rng.uniform(0, self.late), "settles", None, server.begun)
                continue
            flying -= 1
            if what == "refused":
                self.refused, waiting = self.refused + 1, waiting + 1
                one.on_result(now, send, Outcome.THROTTLED, REFUSAL)
            else:
                self.done += 1
                one.on_result(now, send, Outcome.OK, left(int(value)), 20, 10)
            self.rates += [e.rate for e in one.drain_events() if isinstance(e, PaceLearned)]
        return now


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("answers", "late"),
    [((0.1, 0.3), 0.2), ((0.6, 1.0), 0.2), ((0.1, 0.3), 1.5)],
    ids=["quick", "after the refusals", "counted late"],
)
def test_what_calls_reserve_for_a_moment_is_neither_waited_out_nor_taken_for_a_pace(
    seed: int, answers: tuple[float, float], late: float
) -> None:
    """100 of 130 items fit into a minute. Where the minute's pause made the pace, 31 were done
    after ten of them; now all are after two to three, with fewer than one refusal in two items."""
    job = Job(seed, answers, late)
    assert job.run() < 180
    assert job.done == 130
    assert job.refused < 65
    assert job.rates == []
    assert job.silence < 66, "the rest of a spent minute, and the hint of a refusal in it"


@define
class Parts:
    """A scope of eight calls at a time 0, with what replies say is left."""

    admission: Admission = field(factory=Admission)
    pace: AdaptivePace = field(factory=lambda: AdaptivePace(Random(1), 900.0, CallCap(None)))
    sends: list[Send] = field(factory=list)
    reserved: Reservations = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reserved = Reservations(self.admission, self.pace)
        for number in range(8):
            send = Send(0.0, CallCost(), self.pace.log.on_send(0.0), number, None)
            send.admitted = self.admission.take(0.0, CallCost())
            self.pace.on_send(0.0, send)
            self.sends.append(send)

    def refuse(self, now: float, send: Send, hint: ServerHint = REFUSAL) -> float | None:
        """Return the wait that is left of the refusal."""
        kept = self.reserved.on_result(now, send, Outcome.THROTTLED, hint)
        wait = None if kept is None else kept.wait
        explained = self.admission.explains(hint)
        self.pace.on_refused(now, send, wait, Cause.THROTTLED, explained=explained)
        return wait

    def answer(self, now: float, send: Send, hint: ServerHint) -> None:
        """Have *send* answered."""
        assert send.admitted is not None
        for limit in hint.limits:
            self.admission.observe(limit, now, send.sent_at, send.admitted)
        self.admission.on_accepted(now, send.sent_at)
        self.reserved.on_result(now, send, Outcome.OK, hint)
        self.pace.on_accepted(now, send)


def test_an_answer_after_the_refusals_ends_the_pause_that_they_asked_for() -> None:
    """The first answer makes known that tokens are counted down, and gives some back."""
    parts = Parts()
    for send in parts.sends[3:]:
        assert parts.refuse(0.1, send) == 60.0
    parts.pace.next_time(0.9, 3)
    assert (parts.pace.cooldown.state, parts.pace.cooldown.until) == (State.CLOSED, 60.1)
    parts.answer(1.0, parts.sends[0], left(2249))
    assert 1.5 < parts.pace.cooldown.until < 4.0
    assert not parts.pace.hinted
    until = parts.pace.cooldown.until
    parts.answer(1.1, parts.sends[1], left(1498))
    assert parts.pace.cooldown.until == until, "each answer would have it begin anew"


def test_a_refusal_soon_after_an_answer_asks_for_no_wait() -> None:
    """The answer may have been counted after it; two seconds later it had been."""
    for sent_at, wait in ((0.5, None), (2.9, None), (3.1, 60.0)):
        parts = Parts()
        parts.answer(1.0, parts.sends[0], left(2249))
        send = Send(sent_at, CallCost(), parts.pace.log.on_send(sent_at), 7, None)
        assert parts.refuse(sent_at + 0.1, send) == wait


@pytest.mark.parametrize(
    "limit",
    [
        LimitHint(dimension="requests", amount=60, remaining=0),
        LimitHint(dimension="tokens", amount=LIMIT, remaining=7),
        LimitHint(dimension="input_tokens", amount=LIMIT, remaining=0),
    ],
)
def test_a_refusal_for_anything_else_is_waited_out(limit: LimitHint) -> None:
    """Requests come back by time alone, and so do tokens that are not counted down."""
    hint, parts = ServerHint(wait=60.0, limits=(limit,)), Parts()
    assert parts.refuse(0.1, parts.sends[7], hint) == 60.0
    for number in range(3):
        parts.answer(1.0 + number, parts.sends[number], left(2249))
    later = Send(2.5, CallCost(), parts.pace.log.on_send(2.5), 7, None)
    assert parts.refuse(2.6, later, hint) == 60.0
