"""Warnings of the library as lines of the display, for as long as a run lasts."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager

from batchllm.cli.displays import Display

__all__ = ["warnings_shown_on"]


@contextmanager
def warnings_shown_on(display: Display, *, quiet: bool) -> Generator[None]:
    """Show warnings of the library as lines of the display."""
    handler = logging.NullHandler() if quiet else _NoteHandler(display)
    logger = logging.getLogger("batchllm")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: display.note(f"Warning: {message}")
            yield
    finally:
        logger.removeHandler(handler)
        display.close()


class _NoteHandler(logging.Handler):
    def __init__(self, display: Display) -> None:
        super().__init__(logging.WARNING)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        self._display.note(record.getMessage())
