"""The start of the program: its modules are loaded without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Generator[None]:
    """Import what the block imports without looking for garbage meanwhile.

    Modules and classes stay, so the collector finds nothing among them, and it looks at all of
    them again and again while they are made: an eighth of the time that it takes to load a run.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
