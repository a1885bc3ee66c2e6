"""Going on to another provider."""

from functools import partial
from typing import Any

import pytest
from attrs import evolve

from batchllm.core import (
    Category,
    EmptyResponseError,
    FrameworkTimeoutError,
    ProviderError,
    QuotaScope,
    ServerHint,
)
from batchllm.gate import Gate
from batchllm.llm_strategies import Fallback, FallbackError
from batchllm.testing import Hang, Leak, Raise
from tests.llm_strategies.world import PATIENT, refused, run, says, scripted

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "trouble",
    [
        refused(500),
        refused(529),
        refused(401),
        refused(404),
        refused(429, code="insufficient_quota"),
        refused(400, code="context_length_exceeded"),
        Raise(ConnectionError),
        Raise(OSError),
    ],
)
async def test_the_next_one_takes_over_in_the_same_attempt(trouble: Raise) -> None:
    """A call that another provider may do better goes to it at once, and costs no attempt."""
    first, second = scripted("a", trouble), scripted("b", says("right"))
    batch = await run(Fallback([first, second]))
    assert batch.outputs == ["right"]
    assert batch.results[0].attempts == 1
    assert len(first.calls) == len(first.errors) == 1


async def test_a_timeout_goes_on_to_the_next_with_a_time_of_its_own() -> None:
    """A call that hangs is ended by the attempt's timeout; the next has as long."""
    first, second = scripted("a", Hang()), scripted("b", says("right", after=4.0))
    batch = await run(Fallback([first, second]), config=evolve(PATIENT, attempt_timeout=5.0))
    assert batch.outputs == ["right"]


async def test_an_item_that_is_out_of_time_goes_nowhere() -> None:
    """When the item's own time is over nobody else is asked."""
    first, second = scripted("a", Hang()), scripted("b", says("right"))
    config = evolve(PATIENT, timeout_per_item=5.0)
    batch = await run(Fallback([first, second]), config=config)
    assert batch.results[0].error_category == Category.TIMEOUT
    assert isinstance(batch.results[0].exception, FrameworkTimeoutError)
    assert not second.calls


async def test_a_rate_limit_is_waited_for() -> None:
    """The first provider's pause is waited out; the second stays unused."""
    first = scripted("a", refused(429, hint=ServerHint(wait=7.0)), says("right"))
    second = scripted("b")
    batch = await run(Fallback([first, second]))
    assert batch.outputs == ["right"]
    assert batch.wall_time >= 7.0
    assert not second.calls


@pytest.mark.parametrize(
    "trouble", [refused(400), refused(422), Raise(EmptyResponseError("no")), Raise(TypeError)]
)
async def test_what_is_wrong_with_the_item_stays(trouble: Raise) -> None:
    """A bad request, a filtered answer and a program error are the item's result."""
    second = scripted("b")
    batch = await run(Fallback([scripted("a", trouble), second]))
    assert batch.failed == 1
    assert not second.calls
    assert not isinstance(batch.results[0].exception, ExceptionGroup)


async def test_a_parked_scope_is_passed_over_at_once() -> None:
    """From the first item on that found the quota gone, the others lose no time with it."""
    gone = refused(429, hint=ServerHint(exhausted=True), code="insufficient_quota")
    first, second = scripted("a", gone), scripted("b", says("right", after=1.0))
    batch = await run(Fallback([first, second]), *map(str, range(20)), concurrency=2)
    assert batch.outputs == ["right"] * 20
    assert len(first.calls) <= 2


async def test_when_all_fail_the_item_has_all_their_errors() -> None:
    """They come as a group in order, and the item is tried again as long as one has hope."""
    first, second = scripted("a", refused(401)), scripted("b", refused(502))
    batch = await run(Fallback([first, second]))
    (result,) = batch.results
    assert isinstance(result.exception, FallbackError)
    assert [getattr(e, "status", 0) for e in result.exception.exceptions] == [401, 502]
    assert result.attempts == 5
    assert result.error is not None
    assert "status 401" in result.error
    assert "status 502" in result.error


async def test_the_error_of_all_repeats_no_key() -> None:
    """Its message is ours, and what a user's own code raised may have its settings in it."""
    careless = Raise(partial(ConnectionError, "key sk-0123456789abcdef"))
    parts = [scripted(one, *[careless] * 5) for one in "ab"]
    batch = await run(Fallback(parts))
    said = str(batch.results[0].exception)
    assert said.count("ConnectionError: key ***") == 2
    assert "sk-" not in said


async def test_who_answers_badly_is_asked_again() -> None:
    """An answer that is not valid stays with who gave it, and is asked for again at once."""
    first, last = scripted("a", refused(500)), scripted("c")
    second = scripted("b", Raise(ValueError), says("right"))
    batch = await run(Fallback([first, second, last]))
    assert (batch.outputs, batch.wall_time) == (["right"], 0.0)
    assert not last.calls


async def test_without_hope_the_first_one_speaks() -> None:
    """Two final errors end the item at once, under the category of the preferred provider."""
    batch = await run(Fallback([scripted("a", refused(404)), scripted("b", refused(401))]))
    (result,) = batch.results
    assert (result.error_category, result.attempts) == (Category.NOT_FOUND, 1)


async def test_one_alone_raises_its_own_error() -> None:
    """There is no group of one."""
    batch = await run(Fallback([scripted("a", refused(401))]))
    assert isinstance(batch.results[0].exception, ProviderError)


async def test_an_item_that_was_never_sent_has_no_attempts() -> None:
    """Behind a fallback, too, a result says that its scope was parked before its turn."""
    gate = Gate(scope=QuotaScope("a"))
    strategy = Fallback([scripted("a", refused(429, code="insufficient_quota"))])
    await run(strategy, gate=gate)
    (result,) = (await run(strategy, gate=gate)).results
    assert (result.error_category, result.attempts) == (Category.PARKED, 0)


async def test_a_foreign_cancellation_is_no_reason_to_go_on() -> None:
    """A leaked cancellation fails its item, as it does without a fallback."""
    second = scripted("b")
    batch = await run(Fallback([scripted("a", Leak()), second]))
    assert batch.failed == 1
    assert not second.calls


async def test_functions_and_names_will_do() -> None:
    """Everything that may stand for a strategy may be a part."""

    async def broken(prompt: str) -> str:
        raise ConnectionError

    strategy: Fallback[Any] = Fallback([broken, "sim:default"])
    assert (await run(strategy)).succeeded == 1
    assert (await Fallback([scripted("a", says("x"))]).execute("p", 1, 9.0)).output == "x"


def test_a_part_of_such_a_group_is_a_plain_group() -> None:
    """Splitting the group, as `except*` does, gives groups that every program knows."""
    group = FallbackError("all", [ValueError("a"), KeyError("b")])
    match, rest = group.split(KeyError)
    assert isinstance(match, ExceptionGroup)
    assert isinstance(rest, ExceptionGroup)
