"""Budgets of runs of batch mode: what a batch may take is set aside before it is created."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchllm.api import BatchRun
from batchllm.core import (
    Budget,
    ConfigError,
    EndCause,
    Price,
    ProcessingEvent,
    ProcessorConfig,
    TokenUsage,
)
from batchllm.policy import BudgetLedger, Need, WorstCases
from batchllm.provider_batch.billing import Bill, cost_in_batch
from batchllm.provider_batch.purse import Purse
from batchllm.provider_batch.states import IN_FLIGHT, Chunk, EndKind, State, advance
from batchllm.provider_batch.verdicts import LineKind, LineOutcome
from batchllm.simulator import BatchBehaviour, Fixed, Mishap, Scenario
from batchllm.testing import RecordingObserver, virtual_run
from tests.examples import examples
from tests.provider_batch.kit import World, count_calls, marked, prompts

pytestmark = pytest.mark.anyio

PRICE = Price(input=1_000.0, output=4_000.0)
"""A tenth of a cent for each token of a prompt online, and four for each of an answer."""
FORTY = Scenario(answer_tokens=Fixed(40))


def config(budget: Budget | None = None, **more: Any) -> ProcessorConfig:
    return ProcessorConfig(prices={"*": PRICE}, budget=budget, **more)


def billed(world: World) -> float:
    """Return what the provider has billed for batches, at half of each token's price."""
    counts = [(one.input_tokens, one.output_tokens) for one in world.batches.invoice]
    return sum(PRICE.worst(given, said) for given, said in counts) / 2


def bounded(world: World, most: int = 50) -> Any:
    return world.strategy(max_tokens=most)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user", scenario=FORTY)


async def test_a_run_within_its_budget_is_the_same_run(world: World) -> None:
    result = await world.run(prompts(30), bounded(world), config=config(Budget(max_cost=50.0)))
    assert result.succeeded == 30
    assert (
        result.stats["budget"]["cost"] == pytest.approx(billed(world)) == pytest.approx(result.cost)
    )
    assert result.stats["budget"]["reserved_cost"] == 0


async def test_chunks_wait_until_others_have_given_back_what_they_did_not_take(
    world: World,
) -> None:
    """Each may take 10 × 50 tokens and takes 10 × 40; two at a time have room."""
    watched: list[int] = []

    began = anyio.current_time()

    async def watch() -> None:
        for _ in range(60):
            await anyio.sleep(10)
            now = world.start + anyio.current_time() - began
            live = [job for job in world.batches.jobs if not job.has_ended(now)]
            watched.append(len(live))

    budget = Budget(max_tokens_total=3_000)
    items = prompts(40)
    result = await world.run_beside(
        watch, items, strategy=bounded(world), config=config(budget), chunk_size=10
    )
    assert result.succeeded == 40
    assert max(watched) < 4
    assert len(world.billed) == 40


async def test_the_end_of_the_budget_ends_the_run_and_a_larger_one_goes_on(world: World) -> None:
    seen = RecordingObserver()
    small = config(Budget(max_cost=2.0))
    first = await world.run(
        prompts(40), bounded(world), config=small, chunk_size=10, observers=[seen]
    )
    assert first.termination.cause is EndCause.BUDGET
    assert "the budget of $2.00 is spent" in first.termination.reason
    assert "give a larger max_cost" in first.termination.reason
    assert 0 < first.succeeded < 40
    assert first.succeeded + first.not_run == 40
    assert billed(world) <= 2.0
    assert [event for event, _ in seen.events].count(ProcessingEvent.BUDGET_EXHAUSTED) == 1
    again = await world.run(prompts(40), bounded(world), config=small, chunk_size=10)
    assert again.termination.cause is EndCause.BUDGET
    assert len(world.billed) == first.succeeded
    rest = await world.run(prompts(40), bounded(world), config=config(Budget(max_cost=50.0)))
    assert rest.succeeded == 40
    assert len(world.billed) == len(set(world.billed)) == 40
    assert rest.stats["budget"]["cost"] == pytest.approx(billed(world))


async def test_a_chunk_that_does_not_fit_is_made_smaller(world: World) -> None:
    """Without a bound of its request an answer may have 4,096 tokens, until some are known."""
    result = await world.run(prompts(400), config=config(Budget(max_cost=600.0)))
    assert result.succeeded == 400
    sizes = [len(job.requests) for job in world.batches.jobs]
    assert sizes[0] < 400 <= sum(sizes)
    assert len(world.billed) == len(set(world.billed)) == 400
    assert billed(world) < 600.0


async def test_a_single_line_that_is_too_dear_ends_the_run_before_anything_is_created(
    world: World,
) -> None:
    result = await world.run(prompts(5), config=config(Budget(max_tokens_total=1_000)))
    assert result.termination.cause is EndCause.BUDGET
    assert "the next line of a batch may take 4,1" in result.termination.reason
    assert "or max_tokens, which bounds" in result.termination.reason
    assert count_calls(world.batches, ["upload", "create"]) == 0


async def test_runs_that_are_detached_and_go_on_have_one_budget_together(world: World) -> None:
    small = config(Budget(max_cost=2.0))
    for _ in range(6):
        await world.run(prompts(60), bounded(world), config=small, chunk_size=5, detach=True)
        await anyio.sleep(600)
    assert 0 < billed(world) <= 2.0
    result = await world.run(prompts(60), bounded(world), config=small, chunk_size=5)
    assert result.termination.cause is EndCause.BUDGET
    assert billed(world) <= 2.0


async def test_calls_online_are_within_the_same_budget(world: World) -> None:
    """Lines that failed twice are called for online, at the whole price."""
    marks = dict.fromkeys(range(6), "500")
    enough = config(Budget(max_cost=10.0), max_workers=1)
    result = await world.run(marked(12, marks), bounded(world), config=enough)
    assert result.succeeded == 12
    of_batches = billed(world)
    assert result.stats["budget"]["cost"] == pytest.approx(result.cost)
    assert result.cost is not None
    assert result.cost > of_batches
    again = await world.run(marked(12, marks), bounded(world), config=enough)
    assert again.stats["budget"]["cost"] == pytest.approx(result.cost)


async def test_calls_online_for_which_nothing_is_left_are_not_made(world: World) -> None:
    marks = dict.fromkeys(range(6), "500")
    scarce = config(Budget(max_cost=1.45), max_workers=1)
    result = await world.run(marked(12, marks), bounded(world), config=scarce)
    assert result.termination.cause is EndCause.BUDGET
    assert result.stats["budget"]["cost"] <= 1.45
    posts = [one for one in world.simulator.log.entries if one.path.endswith("/chat/completions")]
    assert len(posts) < 6


@pytest.mark.parametrize("ghost", ["ghost-500", "500"])
async def test_a_create_without_an_answer_keeps_its_reservation(world: World, ghost: Any) -> None:
    """I4: until it is found, or surely not there."""
    world.goes_wrong(Mishap("create", ghost))
    run: BatchRun[Any] = BatchRun()
    seen: list[float] = []

    async def watch() -> None:
        for _ in range(40):
            await anyio.sleep(5)
            if world.states() == [State.QUARANTINE]:
                seen.append(run.stats()["budget"]["reserved_cost"])

    result = await world.run_beside(
        watch,
        prompts(5),
        strategy=bounded(world),
        config=config(Budget(max_cost=50.0)),
        into=run,
    )
    assert result.succeeded == 5
    assert seen
    assert min(seen) == max(seen) > 0


async def test_what_was_created_without_a_budget_counts_in_one(world: World) -> None:
    await world.run(prompts(10), bounded(world), detach=True)
    result = await world.run(
        prompts(10), bounded(world), config=config(Budget(max_cost=0.01)), chunk_size=5
    )
    assert result.succeeded == 10
    assert result.stats["budget"]["cost"] == pytest.approx(billed(world))
    more = await world.run(prompts(11), bounded(world), config=config(Budget(max_cost=0.01)))
    assert more.termination.cause is EndCause.BUDGET
    assert len(world.billed) == 10


async def test_what_a_batch_never_came_to_is_given_back(tmp_path: Path) -> None:
    world = World(tmp_path, BatchBehaviour(run=1_000.0, window=60.0 + 500.0), scenario=FORTY)
    result = await world.run(
        prompts(10), bounded(world), config=config(Budget(max_cost=10.0)), batch_rounds=1
    )
    assert result.succeeded == 10
    assert len(world.billed) == 5
    assert result.stats["budget"]["cost"] == pytest.approx(result.cost)


async def test_lines_that_the_results_say_nothing_of_count_as_they_were_reserved(
    world: World,
) -> None:
    """They may have been billed: the simulator does bill them."""
    enough = config(Budget(max_cost=50.0))
    result = await world.run(
        marked(4, {0: "missing", 1: "status0"}), bounded(world), config=enough, batch_rounds=1
    )
    assert result.succeeded == 4
    assert result.cost is not None
    of_two = billed(world) / 2
    assert result.stats["budget"]["cost"] > result.cost + of_two


async def test_a_call_does_not_wait_for_room_that_only_a_later_run_gives_back(
    world: World,
) -> None:
    """A batch holds the budget, and a run that is detached does not stay until it ends."""
    world.behaves(run=50_000.0)
    of_batch = config(Budget(max_tokens_total=1_400))
    options: dict[str, Any] = {"config": of_batch, "verify_echo": True, "detach": True}
    await world.run(prompts(10), bounded(world), **options)
    # No mark can stand behind what the assistant says, so these are called for online.
    spoken = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Well"}]
    items: list[Any] = [*prompts(10), *[spoken] * 5]
    with anyio.fail_after(1_000):
        result = await world.run(items, bounded(world), **options)
    assert result.termination.cause is EndCause.DETACHED
    assert result.succeeded == 0
    rest = await world.run(items, bounded(world), verify_echo=True)
    assert rest.succeeded == 15


async def test_a_budget_in_money_needs_a_price(tmp_path: Path) -> None:
    world = World(tmp_path, model="openai:unheard-of")
    with pytest.raises(ConfigError, match="no price is known for openai:unheard-of"):
        await world.run(prompts(1), config=ProcessorConfig(budget=Budget(max_cost=1.0)))


# -- bills ----------------------------------------------------------------------------------------


def outcome(body: Any, kind: LineKind = LineKind.OK) -> LineOutcome:
    return LineOutcome(custom_id="x", kind=kind, status=200, body=body)


def test_a_bill_counts_answers_and_nothing_else() -> None:
    bill = Bill(PRICE, stacks=False)
    bill.add(outcome({"usage": {"prompt_tokens": 10, "completion_tokens": 5}}))
    bill.add(outcome({"usage": {"input_tokens": 10, "output_tokens": 5}}))
    bill.add(outcome({"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5}}))
    bill.add(outcome({"choices": []}))
    bill.add(outcome({"usage": {"prompt_tokens": 99}}, LineKind.HTTP_ERROR))
    assert (bill.answered, bill.counted, bill.tokens) == (4, 3, 45)
    assert bill.outputs == [5, 5, 5]
    assert bill.cost == pytest.approx(3 * (10 * 1_000 + 5 * 4_000) / 1e6 / 2)


@given(
    given=st.integers(0, 10_000),
    said=st.integers(0, 10_000),
    share=st.floats(0, 1),
    cached=st.none() | st.floats(0, 1_000.0),
    stacks=st.booleans(),
)
def test_no_answer_costs_more_than_half_of_its_price_without_a_cache(
    given: int, said: int, share: float, cached: float | None, stacks: bool
) -> None:
    """So half of the worst case online bounds it."""
    price = evolve(PRICE, cached_input=cached)
    usage: TokenUsage = {
        "input_tokens": given,
        "output_tokens": said,
        "total_tokens": given + said,
        "cached_input_tokens": int(share * given),
    }
    cost = cost_in_batch(price.cost, usage, stacks=stacks)
    assert cost is not None
    assert 0 <= cost <= PRICE.worst(given, said) / 2 * (1 + 1e-9)


# -- the law --------------------------------------------------------------------------------------


def made(number: int, tokens: int) -> Chunk:
    return Chunk(
        number=number,
        run="abcdefgh",
        provider="p",
        path="/x",
        model="m",
        lines=1,
        most_input=tokens,
        longest=tokens,
    )


class ChunksAndMoney(RuleBasedStateMachine):
    """I4: chunks are created, refused, lost, settled, and seen again by another process."""

    @initialize(cost=st.floats(1.0, 20.0))
    def open(self, cost: float) -> None:
        self.budget = Budget(max_cost=cost)
        self.chunks: dict[int, Chunk] = {}
        self.purse = self.new_purse()

    def new_purse(self) -> Purse:
        return Purse(BudgetLedger(self.budget), WorstCases(), "kind", PRICE)

    def put(self, chunk: Chunk) -> None:
        self.chunks[chunk.number] = chunk
        self.purse.follow(chunk)

    def draw(self, data: st.DataObject, *states: State) -> Chunk | None:
        found = [one for one in self.chunks.values() if one.state in states]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(tokens=st.integers(1, 20_000))
    def plan(self, tokens: int) -> None:
        number = len(self.chunks) + 1
        self.put(evolve(made(number, tokens), state=State.UPLOADED))

    @rule(data=st.data())
    def create(self, data: st.DataObject) -> None:
        chunk = self.draw(data, State.UPLOADED)
        if chunk is None:
            return
        fits, need = self.purse.fits(chunk), self.purse.reserve(chunk)
        assert (need is not None) == fits
        if need is not None:
            after = advance(
                chunk,
                State.CREATING,
                attempt=chunk.attempt + 1,
                intent=1.0,
                reserved_tokens=need.tokens,
                reserved_cost=need.cost,
            )
            self.put(after)

    @rule(data=st.data(), to=st.sampled_from([State.RUNNING, State.QUARANTINE, State.UPLOADED]))
    def answer(self, data: st.DataObject, to: State) -> None:
        chunk = self.draw(data, State.CREATING)
        if chunk is not None:
            self.put(advance(chunk, to, batch_id="b"))

    @rule(data=st.data(), to=st.sampled_from([State.RUNNING, State.UPLOADED]))
    def look(self, data: st.DataObject, to: State) -> None:
        chunk = self.draw(data, State.QUARANTINE)
        if chunk is not None:
            self.put(advance(chunk, to))

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        chunk = self.draw(data, State.RUNNING)
        if chunk is not None:
            spent = {"paid_tokens": chunk.reserved_tokens, "paid_cost": chunk.reserved_cost}
            self.put(advance(chunk, State.LOST, **spent))

    @rule(data=st.data(), share=st.floats(0, 1))
    def settle(self, data: st.DataObject, share: float) -> None:
        chunk = self.draw(data, State.RUNNING)
        if chunk is None:
            return
        self.put(chunk := advance(chunk, State.ENDED, end=EndKind.DONE))
        self.put(chunk := advance(chunk, State.FETCHED))
        paid = {"paid_tokens": int(share * chunk.reserved_tokens)}
        cost = share * chunk.reserved_cost
        self.put(advance(chunk, State.SETTLED, **paid, paid_cost=cost))

    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        chunk = self.draw(data, State.UPLOADED, State.LOST)
        if chunk is not None:
            self.put(advance(chunk, State.DROPPED))

    @precondition(lambda self: self.chunks)
    @rule()
    def another_process(self) -> None:
        before = self.spent
        self.purse = self.new_purse()
        self.purse.restore(self.chunks.values(), Need(0, 0.0))
        assert self.spent == pytest.approx(before, abs=1e-9)

    @property
    def spent(self) -> float:
        return self.purse.ledger.cost

    @invariant()
    def keeps_within_the_budget(self) -> None:
        books = self.purse.ledger
        assert books.cost + books.reserved_cost <= (self.budget.max_cost or 0.0) + 1e-9

    @invariant()
    def what_may_be_paid_is_set_aside(self) -> None:
        live = [one for one in self.chunks.values() if one.state in IN_FLIGHT]
        least = sum(one.reserved_cost for one in live)
        assert self.purse.ledger.reserved_cost >= least - 1e-9
        paid = sum(one.paid_cost for one in self.chunks.values())
        assert self.spent == pytest.approx(paid, abs=1e-9)


TestChunksAndMoney = ChunksAndMoney.TestCase


MISHAPS = st.builds(
    Mishap,
    call=st.sampled_from(["upload", "create", "get", "list", "content"]),
    trouble=st.sampled_from(["ghost-500", "ghost-cut", "500", "reset", "429", "not-sent"]),
    times=st.integers(1, 3),
    after=st.integers(0, 2),
)


@pytest.mark.parametrize("model", ["openai:m", "anthropic:m", "gemini:m"])
@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.too_slow])
@given(
    dollars=st.floats(0.3, 8.0),
    mishaps=st.lists(MISHAPS, max_size=3),
    marks=st.dictionaries(
        st.integers(0, 19), st.sampled_from(["500", "missing", "400"]), max_size=5
    ),
    stops=st.lists(st.floats(0, 400), max_size=2),
)
def test_whatever_goes_wrong_no_run_spends_more_than_its_budget(
    model: str, dollars: float, mishaps: list[Mishap], marks: dict[int, str], stops: list[float]
) -> None:
    """I4 of whole runs: at each moment what is booked and set aside covers what was billed."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder), model=model, scenario=FORTY)
            for one in mishaps:
                world.goes_wrong(Mishap(one.call, one.trouble, one.times, one.after))
            most = config(Budget(max_cost=dollars), max_workers=2)

            async def run() -> None:
                into: BatchRun[Any] = BatchRun()
                async with anyio.create_task_group() as group:
                    group.start_soon(watch, into)
                    await world.run(
                        marked(20, marks),
                        bounded(world),
                        config=most,
                        chunk_size=6,
                        on_ambiguous="resubmit",
                        into=into,
                    )
                    group.cancel_scope.cancel()

            async def watch(into: BatchRun[Any]) -> None:
                while True:
                    await anyio.sleep(7)
                    books = into.stats()["budget"]
                    covered = books["cost"] + books["reserved_cost"]
                    assert billed(world) <= covered + 1e-9 <= dollars + 2e-9

            for seconds in stops:
                with anyio.move_on_after(seconds):
                    await run()
            await run()
            assert billed(world) <= dollars

    virtual_run(main, backend="trio")
