"""A refused item goes first, but never before its own hint; nobody waits for it meanwhile."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import LLMCallStrategy, Outcome, ProviderError, ServerHint
from batchllm.gate import CallerLimits, Gate, Refusal
from batchllm.gate.lane import Lane, Waiter
from batchllm.testing import Answer, Raise, ScriptedStrategy
from tests.gate.kit import ONE, turns

pytestmark = pytest.mark.anyio


async def ask(gate: Gate, order: list[Any], name: Any, refusal: Refusal | None = None) -> None:
    """Make a call of a second."""
    permit = await gate.admit(ONE, item=name, refusal=refusal, untried=refusal is None)
    order.append((name, anyio.current_time()))
    await anyio.sleep(1)
    permit.report(Outcome.OK, anyio.current_time())


async def test_refused_calls_go_first_in_the_order_of_their_refusals() -> None:
    """A hundred that wait make no difference to them."""
    gate, order = Gate(calls=1, requests_per_minute=6_000_000), list[Any]()
    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(ask, gate, order, number)
            await turns(2)
        await anyio.sleep(0.5)
        for name, at in (("late", 0.4), ("early", 0.1), ("middle", 0.2)):
            group.start_soon(ask, gate, order, name, Refusal(at, 0.0))
        await anyio.sleep(4.0)
        group.cancel_scope.cancel()
    assert [name for name, _ in order] == [0, "early", "middle", "late", 1]


async def test_a_hint_binds_the_call_that_got_it_and_no_other() -> None:
    """It is not sent before its time, then at once; an open gate lets all others through."""
    gate, order = Gate(calls=1, requests_per_minute=6_000_000), list[Any]()
    now = anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(ask, gate, order, "bound", Refusal(now, now + 5.5))
        await turns(3)
        for number in range(10):
            group.start_soon(ask, gate, order, number)
            await turns(2)
    times = {name: round(at - now, 3) for name, at in order}
    assert times["bound"] == 6.0
    assert [times[number] for number in range(10)] == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10]
    assert gate.waiting == 0


async def test_one_that_waits_for_its_own_hint_alone_wakes_by_itself() -> None:
    """It holds the alarm when nobody else waits."""
    gate, order = Gate(requests_per_minute=6_000_000), list[Any]()
    now = anyio.current_time()
    await ask(gate, order, "bound", Refusal(now, now + 60.0))
    assert order == [("bound", now + 60.0)]


async def test_one_that_leaves_while_it_stands_aside_is_forgotten() -> None:
    """Nothing of it stays in the queue."""
    gate, order = Gate(requests_per_minute=6_000_000), list[Any]()
    now = anyio.current_time()
    with anyio.move_on_after(1):
        await ask(gate, order, "bound", Refusal(now, now + 60.0))
    assert gate.waiting == 0
    await ask(gate, order, "next")
    assert order == [("next", now + 1)]


async def test_a_lane_keeps_refused_waiters_sorted_whatever_comes_and_goes() -> None:
    """By priority, then refused ones by the instant of their refusal, then by arrival."""
    rng, lane, inside = random.Random(1), Lane(), list[Any]()
    limits = CallerLimits(1)
    for _ in range(2_000):
        if inside and rng.random() < 0.4:
            gone = inside.pop(rng.randrange(len(inside)))
            lane.leave(gone)
            lane.leave(gone)
        else:
            refusal = Refusal(float(rng.randint(0, 9)), 0.0) if rng.random() < 0.5 else None
            waiter: Waiter = Waiter(ONE, limits, rng.randint(0, 2), 0.0, refusal=refusal)
            lane.join(waiter)
            inside.append(waiter)
        key = lambda w: (-w.priority, w.refusal is None, w.refusal.at if w.refusal else 0.0)  # noqa: E731
        assert list(lane) == sorted(inside, key=key)
        assert len(lane) == len(inside)


async def test_a_refused_item_does_not_wait_behind_a_thousand_others() -> None:
    """At 600 a minute it would be behind for a hundred seconds and more."""
    hint = ServerHint(wait=1.0)
    strategy = ScriptedStrategy(
        {"p700": [Raise(ProviderError("slow down", status=429, hint=hint)), Answer()]}
    )
    gate = Gate(requests_per_minute=600, seed=1)
    items = [f"p{number}" for number in range(1_500)]
    result = await run_batch(items, strategy, concurrency=600, gate=gate)
    assert result.succeeded == 1_500
    first, second = (call.started for call in strategy.calls if call.prompt == "p700")
    assert 1.0 <= second - first < 5.0


class Refusing(LLMCallStrategy[str]):
    """Refuses each second call for a while, and checks that nobody comes back too early."""

    def __init__(self) -> None:
        self.count = 0
        self.not_before: dict[Any, float] = {}
        self.early = 0

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
        now = anyio.current_time()
        self.early += now < self.not_before.get(prompt, 0.0) - 1e-6
        self.count += 1
        await anyio.sleep(0.05)
        if self.count % 2 and prompt not in self.not_before:
            wait = float(self.count % 7)
            self.not_before[prompt] = anyio.current_time() + wait
            raise ProviderError("slow down", status=429, hint=ServerHint(wait=wait))
        return prompt, None


async def test_no_item_is_ever_sent_before_its_own_hint() -> None:
    """A hint binds its item, no matter how the scope takes the refusal."""
    strategy = Refusing()
    gate = Gate(requests_per_minute=6_000, seed=1)  # declared, so that no search is about
    result = await run_batch([f"p{n}" for n in range(200)], strategy, concurrency=50, gate=gate)
    assert result.succeeded == 200
    assert len(strategy.not_before) > 50
    assert strategy.early == 0
