"""The consequences of a failed attempt, and what an item's result says of it."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest

from batchllm.api import run_batch
from batchllm.core import (
    CallCost,
    Category,
    ErrorClassifier,
    ErrorInfo,
    FrameworkTimeoutError,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessorConfig,
    ProviderError,
    RetryConfig,
    ServerHint,
)
from batchllm.engine import GiveUp, WaitThen, next_step
from batchllm.policy import RetrySchedule
from batchllm.testing import Answer, Hang, Leak, Raise, Return, ScriptedStrategy

pytestmark = pytest.mark.anyio

RETRY = RetryConfig(max_attempts=3, jitter=False, max_rate_limit_retries=2)


def step(
    info: ErrorInfo, *, attempt: int = 1, refusals: int = 0, overloads: int = 0
) -> WaitThen | GiveUp:
    return next_step(
        info,
        attempt=attempt,
        refusals=refusals,
        overloads=overloads,
        max_attempts=3,
        retry=RETRY,
        schedule=RetrySchedule(RETRY, random.Random(0)),
    )


def info(category: Category, **more: Any) -> ErrorInfo:
    values: dict[str, Any] = {
        "is_retryable": True,
        "is_rate_limit": False,
        "is_timeout": False,
        "error_category": category,
    }
    return ErrorInfo(**(values | more))


@pytest.mark.parametrize(
    ("meaning", "attempt", "expected"),
    [
        (info(Category.CONNECTION), 1, WaitThen(1.0, counts=True)),
        (info(Category.CONNECTION), 2, WaitThen(2.0, counts=True)),
        (info(Category.CONNECTION), 3, GiveUp("after 3 attempts")),
        (info(Category.CONNECTION, suggested_wait=9.0), 1, WaitThen(9.0, counts=True)),
        (info(Category.BAD_OUTPUT), 1, WaitThen(0.0, counts=True)),
        (info(Category.BAD_OUTPUT, suggested_wait=0.5), 1, WaitThen(0.5, counts=True)),
        (info(Category.AUTHENTICATION, is_retryable=False), 1, GiveUp()),
        (info(Category.RATE_LIMIT, is_rate_limit=True), 3, WaitThen(0.0, counts=False)),
        (
            info(Category.RATE_LIMIT, is_rate_limit=True, is_retryable=False),
            1,
            WaitThen(0.0, counts=False),
        ),
    ],
)
def test_next_step(meaning: ErrorInfo, attempt: int, expected: WaitThen | GiveUp) -> None:
    """Retryable ones back off, bad answers are asked again at once, limits do not count."""
    assert step(meaning, attempt=attempt) == expected


def test_next_step_after_an_overload_without_a_hint() -> None:
    """It waits a moment of its own, which grows and costs no attempt, and not for ever."""
    overloaded = info(Category.OVERLOADED)
    for overloads in range(1, 51):
        then = step(overloaded, attempt=3, overloads=overloads)
        assert isinstance(then, WaitThen)
        assert not then.counts
        assert 0 < then.seconds <= min(24.0, 0.5 * 2.0**overloads)
    assert isinstance(step(overloaded, overloads=51), GiveUp)


def test_next_step_after_an_overload_with_a_hint() -> None:
    """Its gate makes it wait as long as the server asked for."""
    hinted = info(Category.OVERLOADED, suggested_wait=3.0)
    assert step(hinted, overloads=51) == WaitThen(0.0, counts=False)


def test_next_step_after_too_many_refusals() -> None:
    """A limit that is met again and again gives up with the setting's name."""
    limited = info(Category.RATE_LIMIT, is_rate_limit=True)
    assert step(limited, refusals=2) == WaitThen(0.0, counts=False)
    given_up = step(limited, refusals=3)
    assert isinstance(given_up, GiveUp)
    assert "max_rate_limit_retries (2)" in str(given_up.reason)


async def one(strategy: Any, **config: Any) -> Any:
    config.setdefault("retry", RETRY)
    result = await run_batch(["p"], strategy, config=ProcessorConfig(**config))
    return result.results[0]


async def test_succeeds_at_the_third() -> None:
    """Waits are as configured, and every attempt is in the books."""
    usage = {"input_tokens": 5, "output_tokens": 2}
    strategy = ScriptedStrategy(
        [Raise(ConnectionError, after=1.0), Raise(ConnectionError), Answer("ok", usage=usage)]
    )
    result = await one(strategy)
    assert (result.output, result.attempts) == ("ok", 3)
    assert [call.started for call in strategy.calls] == [0.0, 2.0, 4.0]
    assert [call.attempt for call in strategy.calls] == [1, 2, 3]
    assert (result.timing.execution, result.timing.backoff) == (1.0, 3.0)
    assert result.token_usage["total_tokens"] == 7


async def test_tokens_of_failed_attempts_count() -> None:
    """Tokens of a failed attempt are added to the item's bill."""

    def billed() -> Exception:
        error = ValueError("not JSON")
        error.usage = {"input_tokens": 10, "output_tokens": 1}  # type: ignore[attr-defined]
        return error

    usage = {"input_tokens": 10, "output_tokens": 4}
    result = await one(ScriptedStrategy([Raise(billed), Answer("ok", usage=usage)]))
    assert result.token_usage["input_tokens"] == 20
    assert result.token_usage["output_tokens"] == 5


async def test_rate_limits_do_not_count_as_attempts() -> None:
    """The item runs again as the same attempt, after the wait that the server named."""
    limit = Raise(lambda: ProviderError("slow", status=429, hint=ServerHint(wait=7.0)))
    strategy = ScriptedStrategy([limit, limit, Answer("ok")])
    result = await one(strategy)
    assert (result.output, result.attempts) == ("ok", 1)
    assert [call.attempt for call in strategy.calls] == [1, 1, 1]
    assert [call.started for call in strategy.calls][1] >= 7.0
    assert result.timing.cooldown_wait >= 14.0


async def test_gives_up_at_last() -> None:
    """The last error is the item's, as a sentence and as the object."""
    result = await one(ScriptedStrategy(Raise(lambda: ConnectionError("reset"))))
    assert (result.success, result.attempts) == (False, 3)
    assert result.error == "ConnectionError: reset – after 3 attempts"
    assert isinstance(result.exception, ConnectionError)


async def test_items_own_attempts() -> None:
    """An item's ``max_attempts`` goes before the batch's."""
    strategy = ScriptedStrategy(Raise(ConnectionError))
    item: Any = LLMWorkItem("a", strategy, "p", max_attempts=1)
    result = (await run_batch([item])).results[0]
    assert (result.attempts, len(strategy.calls)) == (1, 1)
    assert "attempts" not in str(result.error)


@pytest.mark.parametrize(
    ("step", "category"),
    [
        (Return(None), Category.PROGRAM_ERROR),
        (Return("text"), Category.PROGRAM_ERROR),
        (Return((1,)), Category.PROGRAM_ERROR),
        (Return((1, None, "no mapping")), Category.PROGRAM_ERROR),
        (Raise(AssertionError("mine")), Category.PROGRAM_ERROR),
        (Raise(BaseException("odd")), Category.UNKNOWN),
        (Leak(), Category.UNKNOWN),
    ],
    ids=repr,
)
async def test_rude_calls_fail_their_item(step: Any, category: Category) -> None:
    """A rude call of any kind fails its item, once, and the next one runs."""
    strategy = ScriptedStrategy({"bad": step})
    result = await run_batch(["bad", "good"], strategy, concurrency=1)
    assert [r.error_category for r in result.in_input_order()] == [category, None]
    assert len(strategy.calls) == 2
    assert len(strategy.errors) == 1


async def test_exception_that_cannot_be_printed() -> None:
    """Not even a broken ``__str__`` loses the item."""

    class Mute(RuntimeError):
        def __str__(self) -> str:
            raise LookupError

    result = await one(ScriptedStrategy(Raise(Mute)), retry=RetryConfig(max_attempts=1))
    assert "cannot be read" in result.error


@pytest.mark.parametrize("estimate", [ValueError("no"), 17])
async def test_broken_estimate(estimate: Any) -> None:
    """An estimate that raises, or is none, fails its item and is not called for."""

    class Estimating(ScriptedStrategy):
        def estimate(self, prompt: Any) -> CallCost | None:
            if isinstance(estimate, Exception):
                raise estimate
            return estimate  # type: ignore[no-any-return]

    strategy = Estimating()
    result = await one(strategy, retry=RetryConfig(max_attempts=1), max_tokens_per_minute=1_000_000)
    assert not result.success
    assert strategy.calls == []


@pytest.mark.parametrize("prompt", [object(), None, 7, [{"role": "user"}], {"a": b"\xff"}])
async def test_any_prompt(prompt: Any) -> None:
    """Prompts of a user's own strategy are its own affair, counted or not."""
    strategy = ScriptedStrategy(Answer("ok", usage={"input_tokens": 3, "output_tokens": 1}))
    for limit in (None, 1_000_000):
        config = ProcessorConfig(max_tokens_per_minute=limit)
        result = await run_batch([LLMWorkItem("a", strategy, prompt)], config=config)
        assert result.outputs == ["ok"]


async def test_on_error_sees_every_failure() -> None:
    """The last attempt, timeouts and limits included; with the state of the item."""
    limit = Raise(lambda: ProviderError("slow", status=429, hint=ServerHint(wait=1.0)))
    strategy = ScriptedStrategy([limit, Hang(), Raise(ValueError("bad"))])
    await one(strategy, attempt_timeout=2.0)
    kinds = [(type(error), attempt) for error, attempt in strategy.errors]
    assert kinds == [
        (ProviderError, 1),
        (FrameworkTimeoutError, 1),
        (ValueError, 2),
        (ValueError, 3),
    ]


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_on_error_that_goes_wrong(how: str) -> None:
    """It is noted, and the original error decides."""

    class Clumsy(ScriptedStrategy):
        async def on_error(self, exception: BaseException, attempt: int, *args: Any) -> None:
            if how == "raises":
                raise LookupError("in on_error")
            import anyio

            await anyio.sleep_forever()

    result = await one(Clumsy([Raise(ValueError("bad")), Answer("ok")]), hook_timeout=3.0)
    assert result.output == "ok"
    (note,) = result.metadata["notes"]
    expected = {"raises": "raised LookupError: in on_error", "hangs": "longer than hook_timeout"}
    assert expected[how] in note


async def test_custom_classifier_decides() -> None:
    """The user's classifier is asked first; ``None`` asks the default."""

    class Mine(ErrorClassifier):
        def classify(self, exception: BaseException) -> ErrorInfo | None:
            if isinstance(exception, KeyError):
                return ErrorInfo(False, False, False, "mine")
            return None

    strategy = ScriptedStrategy({"a": Raise(KeyError), "b": [Raise(ConnectionError), Answer()]})
    result = await run_batch(["a", "b"], strategy, error_classifier=Mine())
    assert [r.error_category for r in result.in_input_order()] == ["mine", None]


async def test_state_is_the_items_own() -> None:
    """The state of an attempt is there for the next one, and not for another item."""

    class Counting(LLMCallStrategy[Any]):
        async def execute(self, prompt: Any, attempt: int, timeout: float, state: Any) -> Any:
            state.set("seen", [*state.get("seen", []), (prompt, attempt)])
            if attempt < 2:
                raise ValueError
            return state.get("seen"), None

    result = await run_batch(["a", "b"], Counting())
    assert result.outputs == [[("a", 1), ("a", 2)], [("b", 1), ("b", 2)]]


async def test_a_broken_classifier_is_named_in_the_error() -> None:
    """The item's error says what its classifier did, and leaves other notes out."""

    class Broken:
        def classify(self, exception: BaseException) -> Any:
            raise LookupError("no table")

    error = ValueError("odd")
    error.add_note("a private note")
    strategy = ScriptedStrategy([Raise(error)])
    result = (await run_batch(["a"], strategy, error_classifier=Broken())).results[0]
    assert result.error_category == Category.PROGRAM_ERROR
    assert "ValueError: odd – Broken.classify() raised LookupError" in str(result.error)
    assert "private" not in str(result.error)


async def test_decorrelated_jitter_grows_from_the_items_last_wait() -> None:
    """Each wait may be three times the last one, so that twelve attempts do back off."""
    retry = RetryConfig(max_attempts=12, jitter="decorrelated", initial_wait=1.0, max_wait=60.0)
    config = ProcessorConfig(retry=retry, seed=3, timeout_per_item=10_000)
    strategy = ScriptedStrategy([Raise(ConnectionError("down"))] * 12)
    (result,) = (await run_batch(["x"], strategy, config=config)).results
    waits = result.timing.backoff
    assert result.attempts == 12
    # Without the last wait each of the eleven is at most 3 s.
    assert waits > 11 * 3


async def test_an_exception_group_nested_very_deep_fails_its_item() -> None:
    """And no other: it is raised, classified, kept and pickled like any error."""
    error: Exception = ValueError("deep")
    for _ in range(400):
        error = ExceptionGroup("g", [error])
    strategy = ScriptedStrategy({"deep": Raise(error)})
    config = ProcessorConfig(retry=RetryConfig(max_attempts=1))
    result = await run_batch(["deep", "good"], strategy, config=config)
    deep, good = result.in_input_order()
    assert (deep.success, good.success) == (False, True)
    assert deep.error == "ExceptionGroup: g (1 sub-exception), first: ValueError: deep"
    assert pickle.loads(pickle.dumps(result)).failed == 1
    assert "1 × unknown" in result.summary()
