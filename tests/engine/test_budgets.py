"""Budgets through the whole engine: never passed, used to their end, and said how they ended."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from batchllm.api import (
    BatchRun,
    ParallelBatchProcessor,
    call_result,
    open_pool,
    run_batch,
    stream_batch,
)
from batchllm.core import (
    Budget,
    CallCost,
    CallTooLargeError,
    ClosedError,
    ConfigError,
    EndCause,
    HedgeConfig,
    LLMCallStrategy,
    LLMWorkItem,
    Price,
    ProcessingEvent,
    ProcessorConfig,
    ProviderError,
    QuotaScope,
    RetryConfig,
    ServerHint,
    StrategyError,
    TransportError,
)
from batchllm.journal import Journal
from batchllm.llm_strategies import Fallback
from batchllm.testing import (
    Backend,
    RecordingObserver,
    ScriptedStrategy,
    open_inline_worker,
    virtual_run,
)
from tests.engine.faces import FACES, Face, run_face
from tests.engine.moments import cancelled_at, share
from tests.examples import examples

pytestmark = pytest.mark.anyio
BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")
DEAR = Price(input=1_000.0, output=4_000.0)
"""A tenth of a cent for each token of a prompt, four for each of an answer."""


@define(eq=False)
class Meter(LLMCallStrategy[str]):
    """Answers after a while, and keeps a bill as a provider does: of each call that it answered.

    Args:
        limit: The most tokens of an answer, as its requests say; ``None`` leaves it open.
        tokens: Draws the tokens of an answer.
        seconds: Draws the time that it takes.
        fails: Draws what it raises in place of an answer, ``None`` for an answer.
    """

    limit: int | None = 20
    tokens: Any = lambda: 10
    seconds: Any = lambda: 1.0
    fails: Any = lambda: None
    price: Price | None = DEAR
    quota_scope: QuotaScope | None = field(factory=QuotaScope)
    billed_tokens: int = field(default=0, init=False)
    billed: float = field(default=0.0, init=False)
    calls: int = field(default=0, init=False)
    in_flight: int = field(default=0, init=False)
    most_in_flight: int = field(default=0, init=False)

    async def execute(self, prompt: str, attempt: int, timeout: float) -> tuple[str, Any]:
        self.calls += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await anyio.sleep(self.seconds())
            error = self.fails()
            if error is not None:
                raise error
        finally:
            self.in_flight -= 1
        usage = {"input_tokens": 5, "output_tokens": self.tokens()}
        self.billed_tokens += sum(usage.values())
        if self.price is not None:
            self.billed += self.price.cost(usage) or 0.0  # type: ignore[arg-type]
        return prompt, usage

    def estimate(self, prompt: Any) -> CallCost | None:
        return None if self.limit is None else CallCost(1, 5, self.limit)


def config(**more: Any) -> ProcessorConfig:
    more.setdefault("retry", RetryConfig(max_attempts=3, jitter=False))
    return ProcessorConfig(**{"max_workers": 20, **more})


@pytest.mark.parametrize("face", FACES)
async def test_a_budget_ends_the_run_and_says_so(face: Face) -> None:
    """The cause, the cap, what was spent, and the item that did not fit; the rest was not run."""
    strategy = Meter()
    budget = Budget(max_cost=1.0)
    ended = await run_face(
        face, [str(n) for n in range(100)], strategy, config=config(), budget=budget
    )
    batch, end = ended.batch, ended.batch.termination
    assert end.cause is EndCause.BUDGET
    assert not end.complete
    assert end.item_id is not None
    assert "the budget of $1.00 is spent: $0.9" in end.reason
    assert "give a larger max_cost" in end.reason
    assert batch.cost == pytest.approx(strategy.billed)
    assert batch.cost <= 1.0
    assert batch.cost > 1.0 - DEAR.worst(5 + 16 + 3, 20)  # no room was left for another call
    assert set(ended.categories.values()) == {None, "stopped"}
    assert batch.succeeded == strategy.calls
    assert batch.succeeded + batch.not_run == 100
    assert batch.stats["budget"]["cost"] == pytest.approx(strategy.billed)
    assert f"${batch.cost:.3f} of $1.00" in batch.summary()


async def test_a_small_budget_is_used_to_its_end_however_many_calls_there_could_be() -> None:
    """Calls wait for those in flight, which took less than they had reserved."""
    strategy = Meter(limit=100, tokens=lambda: 1)
    result = await run_batch(
        [str(n) for n in range(500)],
        strategy,
        config=config(max_workers=100),
        budget=Budget(max_tokens_total=1_000),
    )
    assert strategy.billed_tokens <= 1_000
    assert strategy.billed_tokens >= 1_000 - 130
    assert strategy.most_in_flight < 100
    assert result.stats["held_back"]["budget"] > 0


@settings(max_examples=examples(40))
@given(
    seed=st.integers(0, 10**9),
    cap=st.integers(1, 4_000),
    workers=st.integers(1, 40),
    money=st.booleans(),
    backend=st.sampled_from(BACKENDS),
)
def test_no_budget_is_passed_whatever_calls_take(
    seed: int, cap: int, workers: int, money: bool, backend: Backend
) -> None:
    """Failures, refusals and lost connections among them; at each instant and in the end."""
    rng = random.Random(seed)
    limit = rng.randint(1, 200)

    def fails() -> Exception | None:
        kinds: list[Any] = [
            ProviderError("busy", status=429, hint=ServerHint(wait=0.5)),
            ProviderError("broken", status=500),
            TransportError("lost"),
            TransportError("refused", sent=False),
            ValueError("nonsense"),
        ]
        return rng.choice(kinds) if rng.random() < 0.3 else None

    strategy = Meter(
        limit,
        tokens=lambda: rng.randint(0, limit),
        seconds=lambda: rng.random(),
        fails=fails,
    )
    dollars = cap / 100
    budget = Budget(max_cost=dollars) if money else Budget(max_tokens_total=cap)

    async def main() -> None:
        run = BatchRun[Any]()
        with anyio.move_on_after(rng.choice([3.0, 1_000.0])):
            await run_batch(
                [str(n) for n in range(60)],
                strategy,
                config=config(max_workers=workers, seed=seed),
                budget=budget,
                into=run,
            )
        found = run.stats()["budget"]
        assert found["reserved_tokens"] == 0
        assert found["waiting"] == 0
        if money:
            assert strategy.billed <= dollars * (1 + 1e-9)
            assert strategy.billed <= found["cost"] * (1 + 1e-9)
        else:
            assert strategy.billed_tokens <= cap
            assert strategy.billed_tokens <= found["tokens"]

    virtual_run(main, backend=backend)


@define(eq=False)
class VagueMeter(Meter):
    """Bills every call in full, and reports it as *kind* says."""

    kind: str = "nothing"

    async def execute(self, prompt: str, attempt: int, timeout: float) -> tuple[str, Any]:
        _, usage = await super().execute(prompt, attempt, timeout)
        given, answered = usage["input_tokens"], usage["output_tokens"]
        reports: dict[str, Any] = {
            "nothing": None,
            "the prompt": {"input_tokens": given},
            "the answer": {"output_tokens": answered},
            "both together": {"total_tokens": given + answered},
            "the prompt and both": {"input_tokens": given, "total_tokens": given + answered},
            "a wrong sum": {**usage, "total_tokens": 1},
        }
        if self.kind in reports:
            return prompt, reports[self.kind]
        error = ProviderError("overloaded amid the answer", status=200)
        error.cut_off = True
        if self.kind == "cut off, with its counts so far":
            error.usage = {"input_tokens": given, "output_tokens": 0, "total_tokens": given}
        raise error


KINDS_OF_REPORT = (
    *("nothing", "the prompt", "the answer", "both together", "the prompt and both"),
    *("a wrong sum", "cut off", "cut off, with its counts so far"),
)


@pytest.mark.parametrize("kind", KINDS_OF_REPORT)
@settings(max_examples=examples(12))
@given(
    seed=st.integers(0, 10**9),
    cap=st.integers(1, 4_000),
    bounded=st.booleans(),
    money=st.booleans(),
    backend=st.sampled_from(BACKENDS),
)
def test_no_budget_is_passed_whatever_is_reported(
    kind: str, seed: int, cap: int, bounded: bool, money: bool, backend: Backend
) -> None:
    """A part of the bill, nothing, or what an answer had taken when it was cut off."""
    rng = random.Random(seed)
    limit = rng.randint(1, 200)
    strategy = VagueMeter(
        limit if bounded else None,
        tokens=lambda: rng.randint(0, limit),
        seconds=rng.random,
        kind=kind,
    )
    dollars = cap / 100
    budget = Budget(max_cost=dollars) if money else Budget(max_tokens_total=cap)

    async def main() -> None:
        run = BatchRun[Any]()
        settings = config(max_workers=8, seed=seed, outage_after=None)
        with anyio.move_on_after(1_000.0):
            await run_batch(
                [str(n) for n in range(60)], strategy, config=settings, budget=budget, into=run
            )
        found = run.stats()["budget"]
        assert found["reserved_tokens"] == 0
        if money:
            assert strategy.billed <= found["cost"] * (1 + 1e-9)
            assert strategy.billed <= dollars * (1 + 1e-9)
        else:
            assert strategy.billed_tokens <= found["tokens"]
            assert strategy.billed_tokens <= cap

    virtual_run(main, backend=backend)


@pytest.mark.parametrize(
    ("anyio_backend", "instant", "turns"),
    [
        (backend, *moment)
        for backend in BACKENDS
        for moment in share(backend, (0.0, 1.0, 2.5), range(12))
    ],
    indirect=["anyio_backend"],
)
async def test_cancelled_at_any_moment_nothing_stays_reserved(instant: float, turns: int) -> None:
    """A call that was in flight may be billed, and is booked so."""
    strategy, run = Meter(limit=100, tokens=lambda: 1), BatchRun[Any]()
    async with cancelled_at(instant, turns):
        await run_batch(
            [str(n) for n in range(200)],
            strategy,
            config=config(max_workers=50),
            budget=Budget(max_tokens_total=800),
            into=run,
        )
    budget = run.stats()["budget"]
    assert (budget["reserved_tokens"], budget["waiting"]) == (0, 0)
    assert strategy.billed_tokens <= budget["tokens"] <= 800


async def test_refusals_and_outages_take_nothing() -> None:
    """A provider bills neither; what it may have billed is booked as reserved."""
    failures: list[Any] = [
        *[ProviderError("busy", status=429, hint=ServerHint(wait=0.1))] * 20,
        *[TransportError("no connection", sent=False)] * 2,
        ProviderError("broken", status=503),
        None,
    ]
    strategy = Meter(fails=lambda: failures.pop(0))
    result = await run_batch(["p"], strategy, budget=Budget(max_tokens_total=60))
    assert result.succeeded == 1
    assert result.stats["budget"]["tokens"] == 15


@pytest.mark.parametrize("error", [TransportError("lost"), TimeoutError("no answer")])
async def test_what_may_be_billed_is_counted_in_full(error: Exception) -> None:
    """The answer was lost, and its bill perhaps not."""
    failures: list[Any] = [error, None]
    strategy = Meter(fails=lambda: failures.pop(0))
    result = await run_batch(["p"], strategy, config=config(), budget=Budget(max_tokens_total=999))
    budget = result.stats["budget"]
    assert budget["tokens"] == 15 + budget["uncertain_tokens"]
    assert budget["uncertain_tokens"] >= 25
    assert "may not be billed" in result.summary()


async def test_a_call_that_is_cut_off_may_be_billed() -> None:
    """By a timeout of its own, or by a stop."""
    strategy = Meter(seconds=lambda: 100.0)
    result = await run_batch(
        ["p"],
        strategy,
        config=config(attempt_timeout=1.0, retry=RetryConfig(max_attempts=2)),
        budget=Budget(max_tokens_total=999),
    )
    assert result.stats["budget"]["uncertain_tokens"] == 2 * (1 + 16 + 20)


async def test_without_a_bound_on_answers_the_first_calls_are_few() -> None:
    """Ten at a time until fifty are answered, then as many as the budget has room for."""
    strategy = Meter(limit=None)
    most: list[int] = []

    def seconds() -> float:
        most.append(strategy.in_flight)
        return 1.0

    strategy.seconds = seconds
    result = await run_batch(
        [str(n) for n in range(200)],
        strategy,
        config=config(max_workers=40),
        budget=Budget(max_tokens_total=10_000_000),
    )
    assert max(most[:50]) == 10
    assert max(most) == 40
    assert "passed by 40 × 10 tokens at most" in result.summary()


async def test_one_kind_of_call_does_not_wait_for_the_first_answers_of_another() -> None:
    """Each kind has its own first ten."""
    slow = Meter(limit=None, seconds=lambda: 500.0, quota_scope=QuotaScope("slow"))
    quick = Meter(limit=None, quota_scope=QuotaScope("quick"))
    items = [LLMWorkItem(f"s{n}", slow, "p") for n in range(12)]
    items += [LLMWorkItem(f"q{n}", quick, "p") for n in range(12)]
    budget = Budget(max_tokens_total=10**9)
    settings = config(max_workers=40, timeout_per_item=None)
    async with stream_batch(items, config=settings, budget=budget) as run:
        ended = [result.item_id async for result in run]
    assert sorted(ended[:12]) == sorted(f"q{n}" for n in range(12))


async def test_the_deadline_of_an_item_bounds_its_wait_for_the_budget() -> None:
    """And the result says what it waited for."""
    strategy = Meter(limit=50, seconds=lambda: 30.0, tokens=lambda: 1)
    result = await run_batch(
        ["a", "b"],
        strategy,
        config=config(deadline_per_item=10.0, attempt_timeout=None, timeout_per_item=None),
        budget=Budget(max_tokens_total=100),
    )
    late = result.by_id()
    errors = [str(one.error) for one in late.values()]
    assert any("10.0 s for room in the budget" in error for error in errors)


async def test_both_copies_of_a_hedged_call_are_reserved_and_counted() -> None:
    """The loser is cut off, and may be billed."""
    calls: list[int] = []

    def seconds() -> float:
        calls.append(1)
        return 100.0 if len(calls) == 30 else 1.0

    strategy = Meter(seconds=seconds)
    hedge = HedgeConfig(min_samples=20, max_share=0.1)
    result = await run_batch(
        [str(n) for n in range(30)],
        strategy,
        config=config(max_workers=5, hedge=hedge),
        budget=Budget(max_tokens_total=10_000),
    )
    assert result.succeeded == 30
    # Which call is the slow one depends on the order of ready tasks, and more than one may be slow;
    # a tenth of thirty calls may have a copy.
    assert 1 <= result.stats["hedged_calls"] <= 3
    budget = result.stats["budget"]
    assert budget["uncertain_tokens"] >= 25
    assert budget["tokens"] == strategy.billed_tokens + budget["uncertain_tokens"]
    assert budget["reserved_tokens"] == 0


async def test_a_copy_that_does_not_fit_is_not_made() -> None:
    """The first one goes on alone, and the run does not end for it."""
    seen = RecordingObserver()
    strategy = Meter(limit=20, seconds=lambda: 100.0)
    hedge = HedgeConfig(min_samples=0, delay=5.0, max_share=1.0)
    result = await run_batch(
        ["p"],
        strategy,
        config=config(hedge=hedge),
        budget=Budget(max_tokens_total=50),
        observers=[seen],
    )
    assert (result.succeeded, strategy.calls) == (1, 1)
    assert result.termination.complete
    assert result.stats["hedged_calls"] == 0
    assert ProcessingEvent.HEDGE_STARTED not in [event for event, _ in seen.events]


async def test_a_prompt_that_alone_exceeds_the_budget_fails_alone() -> None:
    """In a pool, too: one caller's mistake closes it for no one else."""
    items = [("long", "x" * 5_000), ("short", "x")]
    strategy = Meter()
    result = await run_batch(items, strategy, budget=Budget(max_cost=2.0))
    found = result.by_id()
    assert found["short"].success
    assert found["long"].error_category == "too_large"
    assert "its prompt may have 5,016 tokens, which are $5.02, and" in str(found["long"].error)
    assert result.termination.complete
    async with open_pool(strategy, budget=Budget(max_tokens_total=1_000)) as pool:
        with pytest.raises(CallTooLargeError, match="the budget of the run is less"):
            await pool.call("x" * 5_000)
        assert await pool.call("x") == "x"


async def test_a_bound_on_answers_that_exceeds_the_budget_ends_the_run() -> None:
    """It is the same for every item, so that the remedy is said once."""
    items = [str(n) for n in range(9)]
    result = await run_batch(items, Meter(limit=500), budget=Budget(max_tokens_total=400))
    assert result.termination.cause is EndCause.BUDGET
    assert "the next call may take 517 tokens" in result.termination.reason
    assert result.not_run == 9


# The price that a budget in money needs.


async def test_a_budget_in_money_needs_a_price_before_any_call() -> None:
    """The strategy is named, with what to do."""
    strategy = Meter(price=None)
    with pytest.raises(ConfigError, match=r"no price is known for common; set price = Price"):
        await run_batch(["p"], strategy, budget=Budget(max_cost=1.0))
    named = Meter(price=None, quota_scope=QuotaScope("a", "", "", "m"))
    with pytest.raises(ConfigError, match="no price is known for a:m"):
        await run_batch(["p"], Fallback([Meter(), named]), budget=Budget(max_cost=1.0))
    with pytest.raises(ConfigError, match="no price is known for a:m"):
        async with open_pool(named, budget=Budget(max_cost=1.0)):
            pass
    assert strategy.calls == named.calls == 0
    table = config(prices={"a:m": DEAR})
    result = await run_batch(["p"], named, config=table, budget=Budget(max_cost=1.0))
    assert result.succeeded == 1


async def test_an_item_with_an_unpriced_strategy_of_its_own_fails_alone() -> None:
    """Nothing is sent for it, and the others go on."""
    unpriced = Meter(price=None, quota_scope=QuotaScope("a", "", "", "m"))
    items = [LLMWorkItem("bad", unpriced, "p"), LLMWorkItem("good", None, "p")]
    result = await run_batch(items, Meter(), budget=Budget(max_cost=1.0))
    found = result.by_id()
    assert found["good"].success
    assert "no price is known for a:m" in str(found["bad"].error)
    assert unpriced.calls == 0


async def test_tokens_alone_need_no_price() -> None:
    """And cost what they cost, if anything is known of that."""
    result = await run_batch(["p"], Meter(price=None), budget=Budget(max_tokens_total=100))
    assert (result.succeeded, result.cost) == (1, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5.0, r"budget is a float; give a Budget, such as Budget\(max_cost=5.0\)"),
        ({"max_cost": 5}, "give a Budget"),
    ],
)
async def test_what_is_no_budget_is_refused(given: Any, message: str) -> None:
    """A number alone could be dollars or tokens."""
    with pytest.raises(ConfigError, match=message):
        await run_batch(["p"], Meter(), budget=given)


# The cost of each result.


async def test_every_result_has_its_cost() -> None:
    """The sum of all its calls; failed ones too, if they report tokens."""

    billed = ValueError("no")
    billed.usage = {"input_tokens": 100, "output_tokens": 0}  # type: ignore[attr-defined]
    failures: list[Any] = [billed, None]
    strategy = Meter(fails=lambda: failures.pop(0))
    result = await run_batch(["p"], strategy, config=config())
    assert result.results[0].cost == pytest.approx(0.1 + 0.045)
    assert result.cost == pytest.approx(0.145)
    assert result.stats["cost"] == pytest.approx(0.145)


async def test_each_model_of_a_composite_has_its_own_price() -> None:
    """An item that fell back costs the sum of both."""

    billed = ProviderError("no", status=500)
    billed.usage = {"input_tokens": 1_000, "output_tokens": 0}  # type: ignore[attr-defined]
    first = Meter(fails=lambda: billed, price=Price(input=1, output=1))
    second = Meter(quota_scope=QuotaScope("other"))
    result = await run_batch(["p"], Fallback([first, second]), config=config())
    assert result.results[0].cost == pytest.approx(0.001 + 0.045)


async def test_an_unknown_price_is_unknown_and_not_nothing() -> None:
    """For the item, and said of the batch."""
    items = [LLMWorkItem("a", Meter(), "p"), LLMWorkItem("b", Meter(price=None), "p")]
    result = await run_batch(items)
    found = result.by_id()
    assert (found["a"].cost, found["b"].cost) == (pytest.approx(0.045), None)
    assert "Cost    $0.045, and that of 1 item unknown" in result.summary()


async def test_a_single_call_has_its_cost() -> None:
    """As in a batch."""
    assert (await call_result("p", Meter())).cost == pytest.approx(0.045)


# Pools, processors, observers, journals.


async def test_a_pool_ends_with_its_budget() -> None:
    """Calls raise ``ClosedError``, which says why; those in flight finish."""
    strategy = Meter()
    budget = Budget(max_cost=0.5)
    async with open_pool(strategy, budget=budget, concurrency=3) as pool:
        answered, closed = 0, []
        for _ in range(50):
            try:
                await pool.call("p")
            except ClosedError as error:
                closed.append(str(error))
            else:
                answered += 1
        stats = pool.stats()
    assert 0 < answered == strategy.calls
    assert stats["budget"]["cost"] == pytest.approx(strategy.billed) == stats["cost"]
    assert strategy.billed <= 0.5
    assert "the budget of $0.50 is spent" in closed[0]


async def test_a_processor_has_one_budget_for_all_its_batches() -> None:
    """Another batch gets what the first has left."""
    strategy = Meter()
    budget = Budget(max_tokens_total=200)
    async with ParallelBatchProcessor[str, str, None](config(), budget=budget) as processor:
        for name in ("a", "b", "c"):
            for n in range(6):
                await processor.add_work(LLMWorkItem(f"{name}{n}", strategy, "p"))
            result = await processor.process_all()
        stats = await processor.get_stats()
    assert result.termination.cause is EndCause.BUDGET
    assert stats["budget"]["tokens"] == strategy.billed_tokens <= 200
    assert stats["cost"] == pytest.approx(strategy.billed)


async def test_observers_see_the_end_of_a_budget_once() -> None:
    """With its numbers."""
    seen = RecordingObserver()
    budget = Budget(max_tokens_total=100)
    await run_batch([str(n) for n in range(30)], Meter(), budget=budget, observers=[seen])
    ends = [data for event, data in seen.events if event is ProcessingEvent.BUDGET_EXHAUSTED]
    assert len(ends) == 1
    assert ends[0]["max_tokens_total"] == 100
    assert ends[0]["tokens"] <= 100


@pytest.mark.parametrize("face", FACES)
async def test_a_journal_goes_on_after_a_budget(tmp_path: Path, face: Face) -> None:
    """The next run has a budget of its own; what earlier ones paid is not counted again."""
    journal = Journal(tmp_path / "run.db", worker=open_inline_worker)
    items = [(f"n{n}", f"p{n}") for n in range(40)]
    strategy, paid = Meter(), []
    for _ in range(20):
        before = strategy.billed
        ended = await run_face(
            face,
            items,
            strategy,
            config=config(),
            journal=journal,
            budget=Budget(max_cost=0.6),
        )
        batch = ended.batch
        paid.append(strategy.billed - before)
        assert batch.cost == pytest.approx(paid[-1])
        assert batch.stats["budget"]["cost"] == pytest.approx(paid[-1])
        if batch.termination.complete:
            break
        assert batch.termination.cause is EndCause.BUDGET
    assert batch.termination.complete
    assert all(cost <= 0.6 for cost in paid)
    assert strategy.calls == 40
    assert batch.tally.succeeded == 40
    assert batch.tally.cost_before == pytest.approx(sum(paid[:-1]))
    assert all(result.cost is not None for result in ended.results)


async def test_without_a_budget_nothing_is_reserved() -> None:
    """And nothing is said of one."""
    result = await run_batch(["p"], ScriptedStrategy())
    assert result.stats["budget"] is None
    assert "Budget" not in result.summary()


async def test_a_price_of_another_shape_is_refused_before_a_call() -> None:
    """It would show after the first answer, which is paid for then, and end the run."""

    class Odd(ScriptedStrategy):
        price: Any = (0.5, 2.0)

    strategy = Odd()
    with pytest.raises(StrategyError, match=r"Odd.price is .*tuple.*; give a Price\(input"):
        await run_batch(["p"], strategy)
    assert not strategy.calls
