"""The post-processor: an async one on the loop, a sync one in one worker thread of its own.

A sync one mostly writes somewhere, for some milliseconds; on the event loop, 50 of them would make
every call late by a second. They run one at a time and in order, since such code is seldom made
for several threads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any, Final

import anyio
from attrs import define, field, frozen

from batchllm.core import ConfigError, WorkItemResult, kind_of
from batchllm.engine.guard import Ended, Failed
from batchllm.engine.hooks import call_hook
from batchllm.engine.slow_hooks import SlowHooks
from batchllm.engine.threaded import is_async
from batchllm.transport import ThreadRunner, run_in_thread

__all__ = ["POST_PROCESSOR", "PostProcessing", "PostProcessor"]

POST_PROCESSOR: Final = "post_processor"
_LOOK_AGAIN: Final = 0.05
"""Seconds between two looks whether a thread that is over its time has come back. A thread cannot
wake the loop that gave it up: by then the loop may have ended."""


@frozen
class PostProcessor:
    """A post-processor with its settings, where a plain function does not say enough.

    Example::

        run_batch(items, strategy, post_processor=PostProcessor(counter.add, inline=True))

    Args:
        function: Called with every result.
        inline: Whether a sync function is called on the event loop, because it takes no time or
            needs the loop's thread. By default it has a thread of its own.
        run_sync: Calls a sync function in a thread.

    Raises:
        ConfigError: *function* cannot be called.
    """

    function: Callable[[WorkItemResult[Any, Any]], Any] = field()
    inline: bool = field(default=False, kw_only=True)
    run_sync: ThreadRunner = field(default=run_in_thread, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not callable(self.function):
            given = kind_of(self.function)
            msg = f"PostProcessor.function is {given}; give a function, sync or async"
            raise ConfigError(msg)

    def __call__(self, result: WorkItemResult[Any, Any]) -> Any:
        """Call the function as it is."""
        return self.function(result)


class StillBusyError(RuntimeError):
    """A post-processor was not called, because an earlier call of it has not come back."""


@define(eq=False)
class _Visit:
    """One call in the thread, which may have been given up before it begins or ends."""

    function: Callable[[WorkItemResult[Any, Any]], Any]
    result: WorkItemResult[Any, Any]
    running: bool = field(default=False, init=False)
    _given_up: bool = field(default=False, init=False)
    # Invariant: of a beginning and a giving up that come together, one is first for both sides.
    _lock: Lock = field(factory=Lock, init=False)

    def run(self) -> Any:
        """Call the function, in the thread."""
        with self._lock:
            if self._given_up:
                return None
            self.running = True
        try:
            return self.function(self.result)
        finally:
            self.running = False

    def give_up(self) -> bool:
        """Let it not begin any more; return whether it runs still."""
        with self._lock:
            self._given_up = True
            return self.running


@define(eq=False)
class PostProcessing:
    """Calls the post-processor of one run.

    Args:
        given: What to call, and how.
        slow: Reports one that holds the event loop.
    """

    given: PostProcessor
    slow: SlowHooks
    _in_thread: bool = field(init=False)
    # Invariant: its holder is in the thread, or waits for a call that is over its time.
    _turn: anyio.Lock = field(factory=anyio.Lock, init=False)
    _limiter: anyio.CapacityLimiter = field(init=False)
    _late: _Visit | None = field(default=None, init=False)
    _give_up_at: float = field(default=0.0, init=False)
    _failures: int = field(default=0, init=False)
    _first_failure: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self._in_thread = not (self.given.inline or is_async(self.given.function))
        self._limiter = anyio.CapacityLimiter(1)

    @property
    def when_late(self) -> str:
        """The fate of a call whose time is over, for the note on its result."""
        return "is not waited for, while its thread goes on" if self._in_thread else "was cancelled"

    @classmethod
    def of(cls, given: Callable[..., Any] | None, slow: SlowHooks) -> PostProcessing | None:
        """Return a caller of *given*; ``None`` if *given* is ``None``."""
        if given is None:
            return None
        whole = given if isinstance(given, PostProcessor) else PostProcessor(given)
        return cls(whole, slow)

    def count(self, failure: str | None) -> None:
        """Count a call that failed, by the note on its result."""
        if failure is not None:
            self._failures += 1
            self._first_failure = self._first_failure or failure

    def warnings(self) -> Iterable[str]:
        """Give a sentence for the whole run if a call failed: the items count as successes."""
        if self._failures:
            of = "1 result" if self._failures == 1 else f"{self._failures:,} results"
            yield f"{POST_PROCESSOR} failed for {of}; first: {self._first_failure}"

    async def call(self, result: WorkItemResult[Any, Any], seconds: float | None) -> Ended[Any]:
        """Call it with *result*; it has *seconds* from when its turn comes."""
        if not self._in_thread:
            function = self.given.function
            return await call_hook(
                function, result, seconds=seconds, name=POST_PROCESSOR, slow=self.slow
            )
        async with self._turn:
            if not await self._comes_back():
                words = "not called: an earlier call is over its time and has not come back"
                return Failed(StillBusyError(words))
            return await self._visit(result, seconds)

    async def _comes_back(self) -> bool:
        """Wait for a call that is over its time; return whether the thread is free."""
        with anyio.move_on_at(self._give_up_at):
            while self._late is not None and self._late.running:  # noqa: ASYNC110
                await anyio.sleep(_LOOK_AGAIN)
        return self._late is None or not self._late.running

    async def _visit(self, result: WorkItemResult[Any, Any], seconds: float | None) -> Ended[Any]:
        visit = _Visit(self.given.function, result)

        async def call() -> Any:
            value = await self.given.run_sync(visit.run, limiter=self._limiter)
            return await value if inspect.isawaitable(value) else value

        try:
            return await call_hook(call, seconds=seconds)
        finally:
            self._late = visit if visit.give_up() else None
            # It may be close to its end: the next result waits as long once more, and those after
            # it no longer. One that hangs must not hold up every result.
            self._give_up_at = anyio.current_time() + (seconds or 0.0)
