"""A progress bar for Python users: Rich's own, or any object that is used like tqdm's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from batchllm.core import BaseObserver, Category, ConfigError, ProcessingEvent, kind_of
from batchllm.observers.plain_bars import LineBar, NotebookBar, notebook_display

__all__ = ["ProgressBar", "ProgressObserver"]

_REDRAW_SECONDS = 0.25
"""Four redraws a second: more cost CPU and are not seen."""

_ENDS = frozenset(
    {ProcessingEvent.ITEM_COMPLETED, ProcessingEvent.ITEM_SKIPPED, ProcessingEvent.ITEM_FAILED}
)
_NOT_FAILED = frozenset({Category.STOPPED, Category.PARKED, Category.CANCELLED})
"""Categories of items that had no chance to fail, since the run ended before."""


class ProgressBar(Protocol):
    """Anything that counts items by ``update``, as the bars of tqdm do."""

    def update(self, n: int, /) -> object:
        """Count *n* more items."""
        ...


class ProgressObserver(BaseObserver):
    """Moves a progress bar with each item that ends.

    Example::

        await run_batch(prompts, strategy, progress=True)  # makes one of these
        await run_batch(prompts, strategy, progress=tqdm)

    Args:
        bar: ``True`` for a bar of Rich on a terminal, an output that is kept up to date in a
            notebook, and a line every five seconds elsewhere; a bar, which stays open; or a
            function or class that makes one when it is called with ``total=``, such as
            ``tqdm.tqdm``, which is closed at the end.

    Raises:
        ConfigError: *bar* is none of these.
    """

    wanted_events = frozenset(
        {*_ENDS, ProcessingEvent.PROCESSING_STARTED, ProcessingEvent.PROCESSING_COMPLETED}
    )

    def __init__(self, bar: bool | ProgressBar | Callable[..., Any] = True) -> None:
        self._make: Callable[..., Any] | None = None
        self._bar: Any = None
        if bar is True:
            self._make = _own_bar
        elif isinstance(bar, type) or (callable(bar) and not hasattr(bar, "update")):
            self._make = bar
        elif callable(getattr(bar, "update", None)):
            self._bar = bar
        else:
            msg = f"progress is {kind_of(bar)}; give True, tqdm, or a bar with update(n)"
            raise ConfigError(msg)
        self._unseen = 0
        self._failed = 0
        self._drawn = 0.0

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Count items, and move the bar four times a second at most."""
        if event is ProcessingEvent.PROCESSING_STARTED:
            self._start(data.get("total"))
        elif event in _ENDS:
            self._unseen += 1
            if event is ProcessingEvent.ITEM_FAILED:
                self._failed += data.get("error_category") not in _NOT_FAILED
            if data["timestamp"] - self._drawn >= _REDRAW_SECONDS:
                self._drawn = data["timestamp"]
                self._move()
        elif event is ProcessingEvent.PROCESSING_COMPLETED:
            self._move()

    def close(self) -> None:
        """Close the bar if it was made here; may be called again."""
        bar, self._bar = self._bar, None
        if bar is not None and self._make is not None:
            _call(bar, "close")

    def _start(self, total: int | None) -> None:
        if self._make is not None:
            self._bar = self._make(total=total)
        elif total is not None and getattr(self._bar, "total", total) is None:
            self._bar.total = total  # as tqdm has it be done once the total is known

    def _move(self) -> None:
        if self._bar is not None and self._unseen:
            if self._failed:
                _call(self._bar, "set_postfix", failed=self._failed, refresh=False)
            unseen, self._unseen = self._unseen, 0
            self._bar.update(unseen)


def _own_bar(*, total: int | None) -> ProgressBar:
    show = notebook_display()
    if show is not None:
        return NotebookBar(total, show)
    from batchllm.observers.rich_bar import bar_on_terminal  # Rich takes a while to load

    return bar_on_terminal(total) or LineBar(total)


def _call(bar: object, name: str, **given: Any) -> None:
    """Call a method that a bar may have."""
    method = getattr(bar, name, None)
    if callable(method):
        method(**given)
