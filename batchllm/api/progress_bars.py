"""``progress=`` of the entry points: a bar that is there for one batch, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias

from attrs import evolve

from batchllm.engine import RunOptions
from batchllm.observers import ProgressBar, ProgressObserver

__all__ = ["Progress", "with_progress"]

Progress: TypeAlias = bool | ProgressBar | Callable[..., Any] | None
"""``True``, a function or class that makes a bar, such as ``tqdm``, or a bar."""


@contextmanager
def with_progress(options: RunOptions, progress: Progress) -> Generator[RunOptions]:
    """Add to *options* an observer that shows progress, and close its bar at the end.

    Raises:
        ConfigError: *progress* is not a bar, nor does it make one.
    """
    if progress is None or progress is False:
        yield options
        return
    observer = ProgressObserver(progress)
    try:
        yield evolve(options, observers=(*options.observers, observer))
    finally:
        observer.close()
