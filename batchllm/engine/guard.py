"""Cancelled, timed out or failed: how code that is not ours ended.

User code may raise anything, swallow a cancellation, turn it into another error, or leak a
cancellation that no one asked for. Whatever it does, the caller learns one of three things, and
a cancellation that comes from outside goes on its way. The order of the steps in ``bounded`` is
what makes that true on every event loop; see ``docs/design/endings.md``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled
from attrs import frozen

from batchllm.core import ConfigError, ProgramError, message_of

__all__ = [
    "Ended",
    "Failed",
    "Ok",
    "TimedOut",
    "bounded",
    "contains",
    "in_words",
    "left_open",
    "only_error",
    "shielded",
    "surface_cancellation",
]

T = TypeVar("T")

_PASS_ON = (KeyboardInterrupt, SystemExit, GeneratorExit)


@frozen
class Ok(Generic[T]):
    """It returned *value*."""

    value: T


@frozen
class Failed:
    """It raised *error*; a foreign cancellation counts as an error."""

    error: BaseException


@frozen
class TimedOut:
    """Its time was up; *error* is what it made of the cancellation, if it let it not pass."""

    error: BaseException | None


Ended: TypeAlias = "Ok[T] | Failed | TimedOut"


def contains(error: BaseException, types: tuple[type[BaseException], ...] = _PASS_ON) -> bool:
    """Return whether *error* is, or is a group that holds, one of *types* (they end a program)."""
    if not isinstance(error, BaseExceptionGroup):
        return isinstance(error, types)
    return any(isinstance(leaf, types) for leaf in _leaves(error))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Iterate over the errors of groups in groups, which may be nested deeper than calls may."""
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            members: tuple[BaseException, ...] = one.exceptions
            waiting += reversed(members)
        else:
            yield one


async def surface_cancellation() -> None:
    """Let a cancellation that is under way show itself, after an error was caught.

    The first checkpoint lets a host task that was cancelled natively in this turn cancel its
    group; the second raises what has arrived by then.
    """
    await checkpoint()
    await checkpoint_if_cancelled()


async def bounded(call: Callable[[], Awaitable[T]], seconds: float | None) -> Ended[T]:
    """Await *call* for at most *seconds* and say how it ended.

    Raises:
        BaseException: A cancellation from outside, or what ends the program.
        ProgramError: *call* left a cancel scope open.
    """
    failure: BaseException | None = None
    scope = anyio.move_on_after(seconds)
    try:
        with scope:
            try:
                return Ok(await call())
            except BaseException as error:  # noqa: ASYNC103
                if contains(error):
                    raise
                failure = error
            await surface_cancellation()
    except RuntimeError as error:
        raise left_open(error) from error
    if scope.cancelled_caught or failure is None:
        let_pass = isinstance(failure, anyio.get_cancelled_exc_class())
        return TimedOut(None if let_pass else failure)
    return Failed(failure)


def left_open(error: RuntimeError) -> ProgramError:
    """Return what to raise when a scope cannot be closed because one inside it still is open."""
    msg = (
        "a strategy or hook left a cancel scope or task group open; open and close it within "
        f"one call ({error})"
    )
    return ProgramError(msg)


async def shielded(call: Callable[[], Awaitable[T]], seconds: float) -> Ended[T]:
    """As ``bounded``, shielded from cancellation from outside: for cleanup."""
    ended: Ended[T] = TimedOut(None)
    with anyio.CancelScope(shield=True):
        ended = await bounded(call, seconds)
    return ended  # noqa: RET504


def only_error(raised: BaseException) -> BaseException:
    """Return the one real error of *raised*, a group or not; if there are several, *raised*.

    Of several that are all errors of the program or its settings, which each item has anew, the
    first stands for all, with notes of the others that say something else.
    """
    leaves: list[BaseException] = []
    for error in _leaves(raised):
        of_scope = isinstance(error, RuntimeError) and isinstance(error.__context__, ProgramError)
        # If so, the task itself complains of the open scope again.
        leaves.append(error.__context__ if of_scope and error.__context__ else error)
    first, *others = leaves
    if not others:
        return first
    if not all(isinstance(leaf, ProgramError | ConfigError) for leaf in leaves):
        return raised
    for other in others:
        if str(other) != str(first):
            first.add_note(f"and another: {other}")
    return first


def in_words(error: BaseException) -> str:
    """Return type and message of *error*, as ``message_of`` gives it."""
    name, text = type(error).__name__, message_of(error)
    if type(error) in (ExceptionGroup, BaseExceptionGroup):
        # Its own text says only how many there are; the type of a subclass has words of its own.
        text = f"{text}, first: {in_words(next(_leaves(error)))}"
    return f"{name}: {text}" if text else name
