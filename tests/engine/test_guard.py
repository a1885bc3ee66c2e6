"""Code that is not ours: however it ends, we know which of three things it was."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from batchllm.core import ConfigError, ProgramError, raise_as_it_was
from batchllm.engine import (
    Failed,
    Ok,
    TimedOut,
    bounded,
    in_words,
    only_error,
    shielded,
)
from batchllm.engine.guard import contains
from batchllm.testing import Answer, Hang, Leak, LeaveScopeOpen, Raise, Step, play

pytestmark = pytest.mark.anyio


class Odd(BaseException):
    """Seen by no ``except Exception``."""


async def ended(step: Step, seconds: float | None = 1.0) -> Any:
    return await bounded(lambda: play(step, "prompt"), seconds)


async def test_value() -> None:
    """A value is a value, also one that is given in place of a cancellation: it is paid for."""
    assert await ended(Answer("x", after=0.5)) == Ok(("x", None))
    assert await ended(Hang(then=Answer("late"))) == Ok(("late", None))


@pytest.mark.parametrize(
    "error", [ValueError("v"), Odd(), ExceptionGroup("g", [ValueError()]), TimeoutError("its own")]
)
async def test_error(error: BaseException) -> None:
    """An error that it raises by itself is its failure, a timeout of its own included."""
    assert await ended(Raise(error)) == Failed(error)


async def test_foreign_cancellation() -> None:
    """A cancellation that was not asked for is a failure, and the task goes on as before."""
    outcome = await ended(Leak(after=0.1))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, anyio.get_cancelled_exc_class())
    await checkpoint()


async def test_group_with_a_foreign_cancellation() -> None:
    """A foreign cancellation inside a group is the call's failure."""

    async def leak() -> None:
        try:
            await play(Leak())
        except BaseException as error:
            raise BaseExceptionGroup("several", [error, ValueError()]) from None

    assert isinstance(await bounded(leak, 1.0), Failed)


async def test_timed_out() -> None:
    """Its time is up, whether it lets itself be cancelled in peace or with an error."""
    start = anyio.current_time()
    assert await ended(Hang()) == TimedOut(None)
    assert anyio.current_time() - start == 1.0
    error = ValueError("at being cancelled")
    outcome = await ended(Hang(then=Raise(error)))
    assert isinstance(outcome, TimedOut)
    assert outcome.error is error


@pytest.mark.parametrize(
    "step",
    [Hang(), Hang(then=Raise(ValueError())), Hang(then=Leak()), Hang(then=Raise(Odd()))],
    ids=repr,
)
async def test_cancelled_from_outside(step: Step) -> None:
    """A cancellation from outside goes on its way, whatever is made of it inside."""
    outcome: Any = "none"
    with anyio.move_on_after(1.0) as scope:
        outcome = await ended(step, 10.0)
    assert scope.cancelled_caught
    assert outcome == "none"


async def test_both_at_once() -> None:
    """Where the deadline and the outer scope fire together, the outer one wins."""
    with anyio.move_on_after(1.0) as scope:
        await ended(Hang(), 1.0)
        await checkpoint()
    assert scope.cancelled_caught


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_program_ends(kind: type[BaseException]) -> None:
    """An exception that ends the program is let through, also out of a group."""

    async def bare() -> None:
        raise kind

    async def grouped() -> None:
        raise BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [kind()]), ValueError()])

    with pytest.raises(kind):
        await bounded(bare, 1.0)
    with pytest.raises(BaseExceptionGroup):
        await bounded(grouped, 1.0)


async def test_own_task_group_inside() -> None:
    """A group that is opened and closed inside is nobody's business; its errors stay grouped."""

    async def fan_out() -> str:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0.1)
            group.start_soon(play, Raise(ValueError("in a task"), after=0.2))
        return "never"

    outcome = await bounded(fan_out, 1.0)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ExceptionGroup)

    async def hang() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            group.start_soon(anyio.sleep_forever)

    assert isinstance(await bounded(hang, 1.0), TimedOut)


def test_scope_left_open() -> None:
    """It is told in words, and never mistaken for a result. The task it happened in is lost."""
    from batchllm.testing import virtual_run

    async def main() -> None:
        told: list[BaseException] = []

        async def victim() -> None:
            try:
                await ended(LeaveScopeOpen())
            except ProgramError as error:
                told.append(error)
                raise

        with pytest.raises(BaseExceptionGroup):
            async with anyio.create_task_group() as group:
                group.start_soon(victim)
        assert "left a cancel scope or task group open" in str(told[0])

    virtual_run(main, backend="asyncio")
    virtual_run(main, backend="trio")


async def test_shielded() -> None:
    """Cleanup runs to its end under a cancellation, or to its own deadline."""
    outcomes = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        outcomes.append(await shielded(lambda: play(Answer("done", after=1.0)), 2.0))
        outcomes.append(await shielded(lambda: play(Hang()), 2.0))
    assert outcomes[0] == Ok(("done", None))
    assert isinstance(outcomes[1], TimedOut)
    assert anyio.current_time() in (3.0, pytest.approx(3.0))


def test_only_error() -> None:
    """One real error is taken out of its groups; of several none is preferred."""
    one, two = ValueError(), KeyError()
    assert only_error(one) is one
    assert only_error(ExceptionGroup("a", [ExceptionGroup("b", [one])])) is one
    group = ExceptionGroup("a", [one, ExceptionGroup("b", [two])])
    assert only_error(group) is group


def test_broken_rules_are_told_together() -> None:
    """Of several broken rules the first is raised, and its notes name the others."""
    first, second = ProgramError("first"), ProgramError("second")
    again = RuntimeError("left open")
    again.__context__ = first
    group = BaseExceptionGroup("a", [first, BaseExceptionGroup("b", [second, again])])
    assert only_error(group) is first
    assert first.__notes__ == ["and another: second"]


def test_raise_as_it_was() -> None:
    """An error taken out of a group keeps its cause and its context."""
    cause, context = KeyError("cause"), OSError("context")
    error = ValueError("it")
    error.__cause__, error.__context__ = cause, context
    with pytest.raises(ValueError, match="it") as caught:  # noqa: PT012
        try:
            raise ExceptionGroup("a", [error])
        except ExceptionGroup as group:
            raise_as_it_was(only_error(group))
    assert (caught.value.__cause__, caught.value.__context__) == (cause, context)


def test_in_words() -> None:
    """An error that cannot even say what it is still gets a sentence."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise LookupError

    assert in_words(ValueError("no")) == "ValueError: no"
    assert in_words(ValueError()) == "ValueError"
    group = ExceptionGroup("in a task group", [ExceptionGroup("g", [ValueError("no")]), Mute()])
    words = "ExceptionGroup: in a task group (2 sub-exceptions), first: ValueError: no"
    assert in_words(group) == words
    assert in_words(Mute()) == "Mute: (its message cannot be read: LookupError)"


def test_one_setting_that_every_item_meets_is_one_error() -> None:
    """An error that many items meet is raised once."""
    first = ConfigError("the gate")
    raised = ExceptionGroup("outer", [first, ConfigError("the gate"), ConfigError("the gate")])
    assert only_error(raised) is first
    assert not hasattr(first, "__notes__")


async def test_groups_nested_deeper_than_calls_may_be() -> None:
    """Four hundred, or twenty thousand, of them fail their item, whichever hook they come from."""

    def nested(depth: int, innermost: BaseException) -> BaseException:
        for _ in range(depth):
            innermost = BaseExceptionGroup("g", [innermost])
        return innermost

    for depth in (400, 20_000):
        error = nested(depth, ValueError("deep"))

        async def fail(error: BaseException = error) -> None:
            raise error

        assert await bounded(fail, None) == Failed(error)
        assert only_error(error).args == ("deep",)
        assert not contains(error)
        assert contains(nested(depth, KeyboardInterrupt()))
