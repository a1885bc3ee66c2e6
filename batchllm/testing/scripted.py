"""A strategy that follows a script and writes down what happened to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import anyio
from attrs import define

from batchllm.core import LLMCallStrategy, QuotaScope, RetryState
from batchllm.testing.steps import Answer, Step, play

__all__ = ["Script", "ScriptedCall", "ScriptedStrategy"]

Script: TypeAlias = Step | Sequence[Step]
"""One step for every call, or one after the other, the last one again and again."""


@define
class ScriptedCall:
    """One call, as the strategy saw it.

    Attributes:
        prompt: Its prompt.
        attempt: The attempt that was passed.
        timeout: The seconds that were passed.
        started: When it began, on the event loop's clock.
        ended: When it ended; ``None`` while it runs.
        error: What it raised; a cancellation as well.
    """

    prompt: Any
    attempt: int
    timeout: float
    started: float
    ended: float | None = None
    error: BaseException | None = None


class ScriptedStrategy(LLMCallStrategy[Any]):
    """Does what its script says, call by call.

    Example::

        flaky = ScriptedStrategy([Raise(ConnectionError), Answer("ok", after=0.5)])
        by_prompt = ScriptedStrategy({"bad": Raise(ValueError("no")), "slow": Hang()})

    Args:
        script: A step, a sequence of steps, or a mapping from prompt to either; a prompt that
            the mapping does not have is answered. Each item goes through the sequence by itself.
        per_call: All items share one sequence: the nth call of the strategy does the nth step.
        prepare: What ``prepare()`` does.
        cleanup: What ``cleanup()`` does.
        scope: Its quota scope.

    Attributes:
        calls: Every call, in order of its start.
        errors: The arguments of ``on_error``: ``(exception, attempt)``.
        in_flight: Calls that run now.
        most_in_flight: The most that ever ran at once.
        prepared: How often ``prepare()`` was begun.
        cleaned: How often ``cleanup()`` was begun.
    """

    per_loop = True

    def __init__(
        self,
        script: Script | Mapping[Any, Script] | None = None,
        *,
        per_call: bool = False,
        prepare: Step | None = None,
        cleanup: Step | None = None,
        scope: QuotaScope | None = None,
    ) -> None:
        self.quota_scope = QuotaScope() if scope is None else scope
        self.calls: list[ScriptedCall] = []
        self.errors: list[tuple[BaseException, int]] = []
        self.in_flight = self.most_in_flight = self.prepared = self.cleaned = 0
        self._script = script
        self._per_call = per_call
        self._prepare = prepare
        self._cleanup = cleanup

    async def prepare(self) -> None:
        """Count it, and do its step."""
        self.prepared += 1
        if self._prepare is not None:
            await play(self._prepare)

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> Any:
        """Do the step that is due."""
        call = ScriptedCall(prompt, attempt, timeout, anyio.current_time())
        step = self._due(prompt, state)
        self.calls.append(call)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await play(step, prompt)
        except BaseException as error:
            call.error = error
            raise
        finally:
            self.in_flight -= 1
            call.ended = anyio.current_time()

    async def on_error(self, exception: BaseException, attempt: int, *args: Any) -> None:
        """Remember the arguments."""
        self.errors.append((exception, attempt))

    async def cleanup(self) -> None:
        """Count it, and do its step."""
        self.cleaned += 1
        if self._cleanup is not None:
            await play(self._cleanup)

    @property
    def prompts(self) -> list[Any]:
        """The prompts of all calls, in order of their start."""
        return [call.prompt for call in self.calls]

    def _due(self, prompt: Any, state: RetryState | None) -> Step:
        script: Any = self._script
        if isinstance(script, Mapping):
            by_prompt = cast("Mapping[Any, Script]", script)
            script = by_prompt.get(prompt) if isinstance(prompt, str) else None
        if script is None:
            return Answer()
        if not isinstance(script, Sequence):
            return cast("Step", script)
        number = len(self.calls)
        if not self._per_call and state is not None:
            key = f"script of {id(self)}"
            number = state.get(key, 0)
            state.set(key, number + 1)
        steps = cast("Sequence[Step]", script)
        return steps[min(number, len(steps) - 1)]
