"""The steps of a scripted call: all the ways in which code that is not ours can end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import anyio
from anyio.lowlevel import checkpoint
from attrs import frozen

__all__ = ["Answer", "Hang", "Leak", "LeaveScopeOpen", "Raise", "Return", "Step", "play"]


@frozen
class Answer:
    """Give *output* after some seconds; ``None`` gives the prompt back."""

    output: Any = None
    after: float = 0.0
    usage: Any = None


@frozen
class Return:
    """Return *value* as it is, whatever its shape."""

    value: Any
    after: float = 0.0


@frozen
class Raise:
    """Raise *error* after some seconds; give a class or a function for a new one each time."""

    error: BaseException | Callable[[], BaseException]
    after: float = 0.0


@frozen
class Hang:
    """Wait until cancelled; then pass the cancellation on, or swallow it and do *then*."""

    then: Step | None = None


@frozen
class Leak:
    """Raise a cancellation of no scope, after some seconds."""

    after: float = 0.0


@frozen
class LeaveScopeOpen:
    """Break the rules: enter a cancel scope, and return without leaving it."""

    output: Any = "left a scope open"


Step: TypeAlias = Answer | Return | Raise | Hang | Leak | LeaveScopeOpen
"""One thing that a scripted call may do."""


async def play(step: Step, prompt: Any = None) -> Any:
    """Do what *step* says, as a call of a strategy with *prompt* would."""
    match step:
        case Answer(output, after, usage):
            await anyio.sleep(after)
            return prompt if output is None else output, usage
        case Return(value, after):
            await anyio.sleep(after)
            return value
        case Raise(error, after):
            await anyio.sleep(after)
            raise error if isinstance(error, BaseException) else error()
        case Leak(after):
            await anyio.sleep(after)
            raise await _foreign_cancellation()
        case LeaveScopeOpen(output):
            anyio.CancelScope().__enter__()
            return output, None
        case Hang(then):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():  # noqa: ASYNC103
                if then is None:
                    raise
            with anyio.CancelScope(shield=True):  # it takes no notice of the cancellation
                return await play(then, prompt) if then is not None else None


async def _foreign_cancellation() -> BaseException:
    """A real cancellation of this event loop, whose scope is closed already."""
    caught: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel("to leak it")
        try:
            await checkpoint()
        except anyio.get_cancelled_exc_class() as error:  # noqa: ASYNC103
            caught.append(error)
    return caught[0]
