"""The start of the program: its modules are loaded without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

__all__ = ["in_own_process", "uncollected"]

_IS_OURS: Final = ContextVar("batchllm_process_is_ours", default=False)


@contextmanager
def in_own_process() -> Generator[None]:
    """Run the block as a program, to which everything in the process belongs."""
    token = _IS_OURS.set(True)
    try:
        yield
    finally:
        _IS_OURS.reset(token)


@contextmanager
def uncollected() -> Generator[None]:
    """Import what the block imports without looking for garbage meanwhile.

    Modules and classes stay, so the collector finds nothing among them, and it looks at all of
    them again and again while they are made: an eighth of the time that it takes to load a run.
    In a process of our own it does not look at them afterwards, either, nor does Python at the
    exit: of a run of one item that was another fifth. What a host program has is left alone.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _IS_OURS.get():
            gc.freeze()
        if was_on:
            gc.enable()
