"""Span observers, as the engine calls them: at once, and in the task that they watch.

Without one each place that calls is a test of one attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from attrs import define, field

from batchllm.classifiers import failed_usage
from batchllm.core import (
    BaseObserver,
    CallEnd,
    CallStart,
    LLMCallStrategy,
    Reply,
    RunStart,
    SpanObserver,
    Tally,
    Termination,
)
from batchllm.engine.failures import Failure
from batchllm.engine.guard import in_words
from batchllm.engine.item import ItemRun

__all__ = ["Watched", "Watchers"]

Watched: TypeAlias = tuple[Any, ...]
"""The objects that observers returned where something began, one for each."""


_RAISED: Final = object()
"""Stands for what an observer would have returned; it is not called with the end of it."""


@define(eq=False)
class Watchers:
    """Calls the span observers of one run.

    Args:
        observers: In the order in which they see a beginning; ends come in reverse.
        clock: Seconds on the event loop's clock.

    Attributes:
        active: If there is an observer; kept, since every item and call asks for it.
    """

    observers: Sequence[SpanObserver]
    clock: Callable[[], float]
    active: bool = field(init=False)
    _run: Watched = field(default=(), init=False)
    _errors: dict[SpanObserver, tuple[int, str]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.active = bool(self.observers)

    @classmethod
    def of(cls, observers: Iterable[BaseObserver], clock: Callable[[], float]) -> Watchers:
        """Take those of *observers* that are called at once."""
        return cls([one for one in observers if isinstance(one, SpanObserver)], clock)

    def start_run(self, run: RunStart) -> None:
        """Report that the run begins."""
        self._run = tuple(self._call(one, one.run_started, run) for one in self.observers)

    def end_run(self, termination: Termination, tally: Tally) -> None:
        """Report that it has ended."""
        for one, run in self._in_reverse(self._run):
            self._call(one, one.run_ended, run, termination, tally)

    @contextmanager
    def item(self, item: ItemRun) -> Generator[None]:
        """Report that *item* begins, and at the end of the block that it has ended."""
        watched = item.watched = tuple(
            self._call(one, one.item_started, run, item.work)
            for one, run in zip(self.observers, self._run, strict=True)
        )
        try:
            yield
        finally:
            for one, began in self._in_reverse(watched):
                self._call(one, one.item_ended, began, item.result)

    def start_call(
        self, item: ItemRun, strategy: LLMCallStrategy[Any], prompt: Any, attempt: int
    ) -> Watched:
        """Report that a call of *item* begins; return what its end is reported with."""
        start = CallStart(item.item_id, strategy, prompt, attempt)
        return tuple(
            self._call(one, one.call_started, began, start)
            for one, began in zip(self.observers, item.watched, strict=True)
        )

    def end_call(self, call: Watched, begun: float, ended: Reply | Failure | None) -> None:
        """Report that *call*, which began at *begun*, has ended; ``None`` if it was cancelled."""
        seconds = self.clock() - begun
        if isinstance(ended, Reply):
            end = CallEnd(seconds, ended.usage, ended.output, ended.metadata)
        elif ended is None:
            end = CallEnd(seconds, cancelled=True)
        else:
            usage, category = failed_usage(ended.error), ended.info.error_category
            end = CallEnd(seconds, usage, error=ended.error, category=category)
        for one, began in self._in_reverse(call):
            self._call(one, one.call_ended, began, end)

    def warnings(self) -> Iterable[str]:
        """Give a sentence for each observer that raised."""
        for observer, (count, first) in self._errors.items():
            yield f"observer {type(observer).__name__} raised {count:,} times; first: {first}"

    def _in_reverse(self, watched: Watched) -> list[tuple[SpanObserver, Any]]:
        return list(zip(self.observers, watched, strict=False))[::-1]

    def _call(self, observer: SpanObserver, hook: Callable[..., Any], *given: Any) -> Any:
        if given[0] is _RAISED:
            return _RAISED
        try:
            return hook(*given)
        except Exception as error:  # what watches must not change what is watched
            count, first = self._errors.get(observer, (0, in_words(error)))
            self._errors[observer] = (count + 1, first)
            return _RAISED
