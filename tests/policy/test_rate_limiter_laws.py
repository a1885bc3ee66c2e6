"""The laws of the rate limiter, for every sequence of answers of a server and of its callers."""

from __future__ import annotations

import sys
from collections import deque
from math import inf
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchllm.core import CallCost, LimitHint, Outcome, ServerHint
from batchllm.policy import (
    CooldownEnded,
    EpisodeStarted,
    Limit,
    PaceLearned,
    PauseLengthened,
    RateLimiter,
    ScopeParked,
    Send,
)
from batchllm.policy.cooldown import State
from tests.examples import examples

ONE = CallCost()
LONGEST = 24.0
"""Seconds of the longest pause that no server asked for."""
SLOT = 20.0
"""Seconds between two calls at the slowest pace."""
PATIENCE = 5.0
"""Seconds after which a call that drew no refusal counts as accepted, at most."""
PARK_AFTER = 120.0
HOW = (
    "ok", "ok", "throttled", "hinted", "overloaded", "capped", "transient", "cancelled", "released",
)  # fmt: skip
CAP = ServerHint(limits=(LimitHint(dimension="concurrency", remaining=0),))


class LimiterMachine(RuleBasedStateMachine):
    """Items always wait: a call is sent whenever the limiter allows one, and ends in any way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.limiter = RateLimiter(rng=Random(1))
        self.limit: Limit | None = None
        self.flying: list[Send] = []
        self.last = self.now  # of the last send, or of the last instant with the cap reached
        self.hints: list[tuple[int, float]] = []  # mark of the refused call, until when
        self.passed = -1  # the highest mark of a call that was not refused
        self.cut = 0  # the marks below this belong to earlier episodes
        self.pausing = False
        self.starts: deque[Send] = deque(maxlen=11)
        self.learned = 0

    @initialize(declared=st.booleans(), calls=st.sampled_from([None, 1, 3, 40]))
    def make(self, declared: bool, calls: int | None) -> None:
        self.limit = Limit("requests", 10, per=5.0) if declared else None
        limits = [self.limit] if self.limit is not None else []
        self.limiter = RateLimiter(rng=Random(1), limits=limits, calls=calls, park_after=PARK_AFTER)

    # -- driving -----------------------------------------------------------------------------

    def send_all(self, until: float, most: int) -> None:
        """Send whatever may start up to *until*, and leave the clock there."""
        while most and (at := self.limiter.next_time(self.now, ONE)) <= until:
            self.read_events()
            if at > self.now:
                self.now = at
            else:
                self.send()
                most -= 1
        if most:
            self.now = max(self.now, until)
        elif self.limiter.next_time(self.now, ONE) < inf:
            self.last = self.now  # the test stops sending here, not the limiter

    def send(self) -> None:
        limiter = self.limiter
        state = limiter.snapshot(self.now).state
        assert state is not State.JUDGING
        assert state is not State.PARKED
        self.count_silent()
        for refused, until in self.hints:
            # A call that was sent after the refused one and not refused ends what was asked.
            assert self.now >= until or self.passed > refused, (refused, until)
        send = limiter.on_send(self.now, ONE)
        assert send.canary == (state is State.CLOSED)
        if send.canary:
            assert limiter.next_time(self.now, ONE) > self.now, "a canary goes alone"
        self.flying.append(send)
        self.starts.append(send)
        if self.limit is not None and len(self.starts) == 11:
            assert self.now - self.starts[0].sent_at > 5.0, "ten in any five seconds"
        self.last = self.now

    def read_events(self) -> None:
        for event in self.limiter.drain_events():
            if isinstance(event, EpisodeStarted):
                assert not self.pausing, "one episode at a time"
                self.pausing, self.learned = True, 0
            elif isinstance(event, PauseLengthened):
                assert self.pausing
                assert event.until >= event.at
            elif isinstance(event, PaceLearned):
                self.learned += 1
                assert self.learned == 1, "at most one cut per episode"
            elif isinstance(event, CooldownEnded):
                self.pausing, self.cut = False, max([-1, *self.marks()]) + 1
            elif isinstance(event, ScopeParked):
                self.pausing = False

    def count_silent(self) -> None:
        """Count what is in flight and drew no refusal in time: it was not refused."""
        patience = self.limiter._adaptive.patience
        silent = (send.mark for send in self.flying if self.now - send.sent_at >= patience)
        self.passed = max([self.passed, *silent])

    def marks(self) -> list[int]:
        return [send.mark for send in self.flying]

    # -- rules -------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.3, 2.0, 10.0, 30.0]), most=st.integers(1, 12))
    def wait(self, seconds: float, most: int) -> None:
        self.send_all(self.now + seconds, most)

    @rule(seconds=st.sampled_from([60.0, 600.0, 86_400.0]))
    def jump(self, seconds: float) -> None:
        """Every caller sleeps, as when a machine is suspended."""
        self.now += seconds
        self.last = self.now
        before = len(self.flying)
        self.send_all(self.now, 50)
        assert len(self.flying) - before <= 50

    @precondition(lambda self: self.flying)
    @rule(
        data=st.data(),
        how=st.sampled_from(HOW),
        wait=st.sampled_from([0.5, 3.0, 40.0]),
    )
    def end(self, data: st.DataObject, how: str, wait: float) -> None:
        self.finish(self.flying[data.draw(st.integers(0, len(self.flying) - 1))], how, wait)

    @precondition(lambda self: self.flying)
    @rule(how=st.sampled_from(["ok", "throttled", "hinted", "capped"]))
    def end_all(self, how: str) -> None:
        """A herd is answered in the order in which it was sent."""
        for send in list(self.flying):
            self.now += 0.001
            self.finish(send, how, 3.0)

    def finish(self, send: Send, how: str, wait: float) -> None:
        limiter, now = self.limiter, self.now
        self.flying.remove(send)
        self.count_silent()
        before = limiter.snapshot(now)
        old = send.mark < self.cut and not send.canary
        full = limiter.next_time(now, ONE) == inf and limiter.parked is None
        match how:
            case "cancelled":
                limiter.on_cancel(now, send)
            case "released":
                limiter.on_release(now, send)
                self.starts = deque((each for each in self.starts if each != send), maxlen=11)
            case "hinted":
                limiter.on_result(now, send, "throttled", ServerHint(wait=wait))
            case "capped":
                limiter.on_result(now, send, "throttled", CAP)
            case _:
                limiter.on_result(now, send, how)
        after = limiter.snapshot(now)
        if how in ("hinted", "throttled", "overloaded"):
            if before.state is State.OPEN and old:
                assert after.state is State.OPEN, "a late refusal opens no episode"
            known_noise = limiter._adaptive.findings.noise.share > 0
            if how == "hinted" and not (known_noise or before.cap or old):
                self.hints.append((send.mark, now + wait))
            if before.pace is not None and after.pace is not None and not known_noise:
                assert after.pace <= before.pace * (1 + 1e-9), "no refusal makes it faster"
        elif how not in ("released", "capped"):
            self.passed = max(self.passed, send.mark)
        if full:
            self.last = now  # until now there was no room among the calls in flight
        self.read_events()

    @precondition(lambda self: self.limiter.parked is not None)
    @rule()
    def reopen(self) -> None:
        self.limiter.reopen(self.now)
        self.read_events()
        self.pausing, self.learned = True, 0
        self.last = self.now
        self.hints.clear()

    # -- laws --------------------------------------------------------------------------------

    @invariant()
    def calls_in_flight_are_counted(self) -> None:
        assert self.limiter.in_flight == len(self.flying)

    @invariant()
    def no_silence_is_longer_than_what_was_asked_or_24_seconds(self) -> None:
        at = self.limiter.next_time(self.now, ONE)
        if at == inf:
            if self.limiter.parked is None:
                assert self.flying, "nothing could ever show that the scope may go on"
                self.last = self.now
            return
        asked = max((until for _, until in self.hints), default=-inf)
        assert at <= max(asked, self.now, self.last + LONGEST + SLOT + PATIENCE + 1.0)

    def teardown(self) -> None:
        for send in list(self.flying):
            self.finish(send, "cancelled", 0.0)
        assert self.limiter.in_flight == 0


TestLimiterLaws = LimiterMachine.TestCase
TestLimiterLaws.settings = settings(max_examples=examples(60), stateful_step_count=40)


@pytest.mark.parametrize("refused_in", [0.05, 2.0, 30.0])
@pytest.mark.parametrize("hint", [None, 1.0])
def test_a_server_that_refuses_everything_is_asked_at_least_every_24_seconds_until_it_is_parked(
    refused_in: float, hint: float | None
) -> None:
    """It may refuse at once or slowly, and ask for any wait."""
    limiter, now, last = RateLimiter(rng=Random(3), calls=50), 0.0, 0.0
    pending: deque[tuple[float, Send]] = deque()
    while limiter.parked is None and now < 3000.0:
        at = limiter.next_time(now, ONE)
        if pending and pending[0][0] <= at:
            full = at == inf
            now, send = pending.popleft()
            reply = None if hint is None else ServerHint(wait=hint)
            limiter.on_result(now, send, Outcome.THROTTLED, reply)
            last = now if full else last
            continue
        assert at < inf
        now = max(now, at)
        if limiter.next_time(now, ONE) <= now:
            assert now - last <= LONGEST + SLOT + min(refused_in, PATIENCE)
            pending.append((now + refused_in, limiter.on_send(now, ONE)))
            last = now
    if refused_in < PATIENCE:  # slower than that, silence stands for acceptance all the while
        assert limiter.parked is not None
        assert 900.0 <= now <= 1000.0


def operations(in_flight: int) -> float:
    """Return the function calls that a call takes with so many in flight, once it is paced."""
    limiter, now, flying = RateLimiter(rng=Random(1), cold_start=False), 0.0, deque[Send]()
    for _ in range(in_flight):
        flying.append(limiter.on_send(now, ONE))
        now += 0.001
    for _ in range(3):
        limiter.on_result(now, flying.pop(), "throttled")
    count = 0

    def profile(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        for _ in range(500):
            while (at := limiter.next_time(now, ONE)) > now:
                now = at
            flying.append(limiter.on_send(now, ONE))
            limiter.on_result(now, flying.popleft(), "ok")
    finally:
        sys.setprofile(None)
    return count / 500


def test_a_decision_costs_the_same_however_many_calls_are_in_flight() -> None:
    """Counted in function calls, not in time."""
    few, many = operations(20), operations(5000)
    assert many < 1.2 * few
    assert few < 100
