"""Composites of composites."""

from typing import Any

import pytest
from attrs import evolve

from batchllm.api import run_batch
from batchllm.core import LLMCallStrategy, QuotaScope, Reply, RetryState, StrategyError
from batchllm.llm_strategies import (
    Balance,
    Composite,
    Fallback,
    ModelEscalation,
    PartialRecovery,
    ProgressivePrompting,
    ResponseCache,
    ValidationFeedback,
)
from batchllm.testing import Answer, Raise, ScriptedStrategy
from tests.llm_strategies.world import BAD_AGE, GOOD, PATIENT, Person, refused, run, says, scripted

pytestmark = pytest.mark.anyio

ANN = Person("Ann", 41, "Lima")


async def test_they_nest_freely() -> None:
    """A fallback of escalations of feedback, cached: each part does its own at its own level."""
    down = scripted("down", refused(500))
    cheap, strong = scripted("cheap", says(BAD_AGE)), scripted("strong", says("?"), says(GOOD))
    strategy = ResponseCache(
        Fallback(
            [
                down,
                ModelEscalation(
                    [ValidationFeedback(cheap, Person), ValidationFeedback(strong, Person)]
                ),
            ]
        )
    )
    assert (await run(strategy, "p")).outputs == (await run(strategy, "p")).outputs == [ANN]
    assert len(down.calls) == 3
    assert len(cheap.calls) == 1
    assert [prompt.partition("\n")[0] for prompt in strong.prompts] == ["p", "p"]
    assert strong.prompts[0] == "p" != strong.prompts[1]


async def test_a_class_may_be_nested_in_itself() -> None:
    """Two levels of one class keep their memories apart."""
    inner = scripted("one", Raise(ValueError), Raise(ValueError), says("x"))
    strategy = ProgressivePrompting(ProgressivePrompting(inner, ["a", "b"]), ["c", "d"])
    assert (await run(strategy)).succeeded == 1
    assert inner.prompts == ["p", "p\n\nc\n\na", "p\n\nc\n\nd\n\na\n\nb"]


async def test_parts_are_prepared_and_cleaned_up_once() -> None:
    """A part that is in two places is prepared once, however many items share it."""
    shared = scripted("shared", says("x"))
    strategy = Fallback([Balance([shared, shared]), ModelEscalation([shared])])
    assert (await run(strategy, *map(str, range(50)), concurrency=50)).succeeded == 50
    assert (shared.prepared, shared.cleaned) == (1, 1)


class Echo(LLMCallStrategy[str]):
    """Answers the first two prompts of each item badly, then with all that it was told."""

    quota_scope = QuotaScope("echo")

    def __init__(self) -> None:
        self.prompts = list[str]()

    async def execute(
        self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
    ) -> Any:
        self.prompts.append(prompt)
        own = prompt.partition("\n")[0]
        if attempt < 3:
            return f'{{"name": "{own}", "age": "?"}}', None
        return '{"age": 1, "city": "X"}', None


async def test_a_shared_wrapper_never_mixes_items() -> None:
    """At fifty calls at once each item is completed by its own fields only."""
    echo = Echo()
    names = [f"n{n}" for n in range(200)]
    batch = await run(PartialRecovery(echo, Person), *names, concurrency=50)
    assert batch.outputs == [Person(name, 1, "X") for name in names]
    for prompt in echo.prompts:
        own = prompt.partition("\n")[0]
        assert {name for name in names if f'"{name}"' in prompt} <= {own}


async def test_a_dry_run_asks_the_first_part() -> None:
    """Nothing is called; the output shows the prompt."""
    inner = scripted("one")
    batch = await run(Fallback([ResponseCache(inner)]), config=evolve(PATIENT, dry_run=True))
    assert batch.outputs == ["[DRY-RUN] Mock output for prompt: p..."]
    assert not inner.calls


def test_they_show_and_name_their_parts() -> None:
    """The representation and the identity go down to the leaves, without counts that change."""

    class Leaf(LLMCallStrategy[str]):
        async def execute(self, prompt: Any, attempt: int, timeout: float, *a: Any) -> Any: ...

        def __repr__(self) -> str:
            return "Leaf()"

    strategy = Fallback([ResponseCache(Leaf()), Balance([Leaf()])])
    assert repr(strategy) == "Fallback(ResponseCache(Leaf()), Balance(Leaf()))"
    before = strategy.identity()
    assert before["class"] == "batchllm.llm_strategies.fallback.Fallback"
    assert [part["class"].rpartition(".")[2] for part in before["parts"]] == [
        "ResponseCache",
        "Balance",
    ]
    assert strategy.parts[0].identity().keys() == {"class", "parts"}


class Own(Composite[str]):
    """A composite of a user's, which may write ``run``, ``execute``, or forget both."""

    def __init__(self, inner: Any) -> None:
        self.parts = (inner,)


class Runs(Own):
    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        return await memory.call(self.parts[0], f"{prompt}!", attempt, timeout)


class Executes(Own):
    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> Reply:
        memory = RetryState() if state is None else state
        return await memory.call(self.parts[0], f"{prompt}!", attempt, timeout)


async def test_a_composite_of_ones_own() -> None:
    """Within a batch, by hand without a state, and one that has no way to make an attempt."""
    for kind in (Runs, Executes):
        own = kind(ScriptedStrategy({"a!": Answer("yes")}))
        assert (await run_batch(["a"], own)).outputs == ["yes"]
        assert (await own.execute("a", 1, 9.0)).output == "yes"
    with pytest.raises(StrategyError, match="Own has no way to make an attempt"):
        await Own(ScriptedStrategy([Answer("no")])).execute("a", 1, 9.0)
