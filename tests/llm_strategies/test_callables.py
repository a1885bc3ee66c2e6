"""Functions as strategies."""

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import RetryState, StrategyError
from batchllm.llm_strategies import CallableStrategy, from_callable

pytestmark = pytest.mark.anyio


async def in_place(function: Callable[[], Any], *, limiter: anyio.CapacityLimiter) -> Any:
    """Call a blocking function where it is, as tests in virtual time do."""
    async with limiter:
        return function()


async def plain(prompt: str) -> str:
    await anyio.sleep(0.1)
    return prompt.upper()


async def everything(
    prompt: str, attempt: int, timeout: float, state: RetryState, tone: str = "calm"
) -> list[Any]:
    return [prompt, attempt, timeout, state, tone]


async def by_keyword(prompt: str, *, state: RetryState, **more: Any) -> list[Any]:
    return [prompt, state, more]


class Caller:
    async def __call__(self, text: str, /, timeout: float) -> list[Any]:
        return [text, timeout]

    async def method(self, text: str, attempt: int = 0) -> list[Any]:
        return [text, attempt]


async def test_parameters_are_filled_in_by_name() -> None:
    """attempt, timeout and state are given to those who name them; defaults are left alone."""
    state = RetryState()
    cases: list[tuple[Callable[..., Any], Any]] = [
        (plain, "P"),
        (everything, ["p", 2, 9.0, state, "calm"]),
        (partial(everything, tone="glad"), ["p", 2, 9.0, state, "glad"]),
        (by_keyword, ["p", state, {}]),
        (Caller(), ["p", 9.0]),
        (Caller().method, ["p", 2]),
    ]
    for function, expected in cases:
        output, usage, metadata = await from_callable(function).execute("p", 2, 9.0, state)
        assert (output, usage, metadata) == (expected, None, None)


@pytest.mark.parametrize(
    ("returned", "output", "total"),
    [
        ("text", "text", None),
        (("text", {"input_tokens": 1, "output_tokens": 2}), "text", 3),
        (("text", {"prompt_tokens": 4}), "text", 4),
        (("text", {}), "text", None),
        (("text", None), "text", None),
        (("a", "b"), ("a", "b"), None),
        (("a", {"city": "Graz"}), ("a", {"city": "Graz"}), None),
        (("a", None, "c"), ("a", None, "c"), None),
        ((1, 2, 3, 4), (1, 2, 3, 4), None),
        (["a", None], ["a", None], None),
    ],
)
async def test_usage_is_told_from_a_tuple(returned: Any, output: Any, total: int | None) -> None:
    """A second member that is usage is read as such; any other tuple is the output."""

    async def answer(prompt: str) -> Any:
        return returned

    got, usage, _ = await from_callable(answer).execute("p", 1, 1.0)
    assert got == output
    assert (usage or {}).get("total_tokens") == total


async def test_metadata_comes_third() -> None:
    """A third member that is a mapping is the metadata."""

    async def answer(prompt: str) -> Any:
        return "text", None, {"source": "book"}

    assert await from_callable(answer).execute("p", 1, 1.0) == ("text", None, {"source": "book"})


async def test_sync_functions_go_through_the_one_seam() -> None:
    """A sync function is called by the runner, each time within the limit on threads."""
    seen: list[float] = []

    def answer(prompt: str) -> str:
        return prompt * 2

    async def runner(function: Callable[[], Any], *, limiter: anyio.CapacityLimiter) -> Any:
        seen.append(limiter.total_tokens)
        return await in_place(function, limiter=limiter)

    strategy = CallableStrategy(answer, threads=3, run_sync=runner)
    for _ in range(2):
        await strategy.prepare()
        assert (await strategy.execute("ab", 1, 1.0))[0] == "abab"
        assert (await strategy.execute("ab", 1, 1.0))[0] == "abab"
    assert seen == [3, 3, 3, 3]


async def test_a_lambda_round_an_async_function_is_awaited() -> None:
    """A sync function that returns an awaitable gives what that gives."""
    strategy = CallableStrategy(lambda prompt: plain(prompt), run_sync=in_place)
    assert (await strategy.execute("ab", 1, 1.0))[0] == "AB"


async def test_functions_written_in_c_are_called_plainly() -> None:
    """A function that tells no signature gets the prompt alone."""
    strategy = CallableStrategy(dict, run_sync=in_place)
    assert (await strategy.execute({"a": 1}, 1, 1.0))[0] == {"a": 1}


def test_what_cannot_be_called_is_refused() -> None:
    """A function of another shape is told at once, with the shapes that are accepted."""

    async def two(prompt: str, other: int) -> str:
        return prompt

    async def none() -> str:
        return ""

    async def keyword(*, prompt: str) -> str:
        return prompt

    for wrong in (two, none, keyword):
        with pytest.raises(StrategyError, match=r"cannot be called as a strategy.*give fn\(pr"):
            from_callable(wrong)
    no_function: Any = 7
    with pytest.raises(StrategyError, match="a int is no function"):
        from_callable(no_function)


def test_a_function_is_known_by_its_name() -> None:
    """Repr and identity name the function, behind a partial, too."""
    assert repr(from_callable(plain)) == "from_callable(plain)"
    found = from_callable(partial(everything, tone="x")).identity()
    assert found["function"] == f"{__name__}:everything"
    assert from_callable(Caller()).identity()["function"] == f"{__name__}:Caller"


async def test_a_function_that_returns_nothing_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """None is an output like any other, and most often a forgotten return."""

    async def forgets(prompt: str) -> None:
        prompt.upper()

    result = await run_batch(["a", "b", "c"], from_callable(forgets))
    assert result.outputs == [None, None, None]
    (record,) = caplog.records
    assert "forgets returned None" in record.getMessage()
    assert "return" in record.getMessage()
