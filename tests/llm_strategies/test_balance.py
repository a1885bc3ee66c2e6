"""Spreading calls over endpoints and keys."""

import copy
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import ConfigError, RetryState, ServerHint, StrategyError
from batchllm.llm_strategies import Balance, KeyRotation
from batchllm.testing import Raise
from tests.llm_strategies.world import refused, run, says, scripted

pytestmark = pytest.mark.anyio

PROMPTS = [str(n) for n in range(60)]


async def test_endpoints_of_one_speed_take_turns() -> None:
    """Sixty items over three endpoints make twenty each."""
    parts = [scripted(name, says("x", after=1.0)) for name in "abc"]
    batch = await run(Balance(parts), *PROMPTS, concurrency=6)
    assert batch.succeeded == 60
    assert [len(part.calls) for part in parts] == [20, 20, 20]
    assert max(part.most_in_flight for part in parts) == 2


async def test_a_slow_endpoint_gets_fewer() -> None:
    """The part with the fewest calls in flight is next, so that speed decides the shares."""
    slow, fast = scripted("slow", says("x", after=4.0)), scripted("fast", says("x", after=1.0))
    await run(Balance([slow, fast]), *PROMPTS, concurrency=4)
    assert len(fast.calls) > 1.5 * len(slow.calls)


async def test_weights_shift_the_load() -> None:
    """With three times the weight an endpoint gets three times the calls."""
    big, small = scripted("big", says("x", after=1.0)), scripted("small", says("x", after=1.0))
    await run(Balance([big, small], weights=[3, 1]), *PROMPTS, concurrency=8)
    assert 40 <= len(big.calls) <= 50
    assert len(small.calls) == 60 - len(big.calls)


async def test_a_cooling_endpoint_is_left_alone() -> None:
    """While one has to pause the other takes all but what was in line there already."""
    limited = scripted("a", refused(429, hint=ServerHint(wait=100.0)))
    other = scripted("b", says("x", after=0.1))
    batch = await run(Balance([limited, other]), *PROMPTS, concurrency=4)
    assert batch.succeeded == 60
    late = [result for result in batch.results if result.timing.total > 50.0]
    assert len(late) <= 4
    assert len(limited.calls) <= 2 + len(late)


@pytest.mark.parametrize(
    "trouble", [refused(401), refused(403), refused(429, code="insufficient_quota")]
)
async def test_a_refused_key_costs_no_item(trouble: Raise) -> None:
    """An error of a key moves the call to another key in the same attempt."""
    bad, good = scripted("bad", trouble), scripted("good", says("x", after=1.0))
    batch = await run(Balance([bad, good]), *PROMPTS, concurrency=4)
    assert batch.succeeded == 60
    assert {result.attempts for result in batch.results} == {1}


async def test_after_a_failure_the_item_goes_elsewhere() -> None:
    """The second attempt avoids the endpoint where the first one failed, whatever its weight."""
    down, up = scripted("down", Raise(ConnectionError)), scripted("up", says("x"))
    batch = await run(Balance([down, up], weights=[10, 1]), "p")
    assert batch.succeeded == 1
    assert (len(down.calls), len(up.calls)) == (1, 1)


async def test_where_none_is_of_use_the_last_error_counts() -> None:
    """Each is asked once, and the item fails."""
    parts = [scripted("a", refused(401)), scripted("b", refused(403))]
    batch = await run(Balance(parts))
    assert batch.results[0].error_category == "permission"
    assert [len(part.calls) for part in parts] == [1, 1]


async def test_where_all_cool_down_it_waits() -> None:
    """With every endpoint closed an item waits for one of them."""
    parts = [scripted(name, refused(429, hint=ServerHint(wait=5.0)), says("x")) for name in "ab"]
    batch = await run(Balance(parts))
    assert batch.succeeded == 1
    assert 5.0 <= batch.wall_time < 11.0


async def test_calls_in_flight_are_counted_back_after_failures() -> None:
    """A call that failed is no load any more; a state made by hand will do."""
    first, second = scripted("a", Raise(ConnectionError)), scripted("b", says("x"))
    strategy = Balance([first, second])
    with pytest.raises(ConnectionError):
        await strategy.execute("p", 1, 9.0)
    assert (await strategy.execute("p", 1, 9.0, RetryState())).output == "x"
    assert strategy._busy == [0, 0]


async def test_one_model_with_several_keys() -> None:
    """Each key is a quota scope of its own; keys show nowhere."""
    keys = ["first-secret-key", "second-secret-key"]
    rotation = KeyRotation("sim:default", keys, temperature=0.5)
    assert len({part.quota_scope for part in rotation.parts}) == 2
    assert "secret" not in repr(rotation) + repr(rotation.identity())
    assert (await run(rotation, *PROMPTS)).succeeded == 60


@pytest.mark.parametrize("wrong", [[1], [1, 0], [1, -1], [1, float("inf")], [1, "2"], [1, True]])
def test_weights_are_numbers_one_for_each(wrong: Any) -> None:
    """A wrong number of weights, or a wrong one, is an error that says so."""
    with pytest.raises(ConfigError, match="weights"):
        Balance([scripted("a"), scripted("b")], wrong)


def test_it_needs_keys() -> None:
    """No keys at all is an error that names the class."""
    with pytest.raises(StrategyError, match="KeyRotation"):
        KeyRotation("sim:default", [])
    assert Balance([scripted("a")]).identity()["weights"] == [1.0]


async def echo_a(prompt: str) -> str:
    await anyio.sleep(1.0)
    return f"a {prompt}"


async def echo_b(prompt: str) -> str:
    await anyio.sleep(1.0)
    return f"b {prompt}"


async def test_a_copy_does_not_count_the_calls_of_its_original() -> None:
    """It never learns of their ends, so it would keep away from a part for ever."""
    original = Balance[str]([echo_a, echo_b])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_batch, ["only one"], original)
        await anyio.sleep(0.5)
        twin = copy.deepcopy(original)
    batch = await run_batch(["1", "2"], twin, concurrency=1)
    assert sorted(str(result.output)[0] for result in batch.results) == ["a", "b"]
    batch = await run_batch(["1", "2", "3", "4"], twin, concurrency=4)
    assert sorted(str(result.output)[0] for result in batch.results) == ["a", "a", "b", "b"]
