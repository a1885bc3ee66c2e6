"""Ctrl-C while the program is still importing itself ends it in one line, without a traceback.

Importing takes longer than anything else before the first call. No code of the command line runs
yet then, since Python imports this package first; so the package looks whether it is the program.
"""

from __future__ import annotations

import sys
from pathlib import PurePath
from types import TracebackType

_PROGRAMS = ("batchllm", "batchllm.cli")


def _expect_interrupts() -> None:
    """Have an interrupt that nothing handles reported in one line."""
    report = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("batchllm: interrupted", file=sys.stderr)
        else:
            report(kind, error, trace)

    sys.excepthook = hook


def _is_program() -> bool:
    name, words = sys.argv[0], sys.orig_argv
    if name == "-m":  # what it is during the import of python -m …
        return "-m" in words[:-1] and words[words.index("-m") + 1] in _PROGRAMS
    return PurePath(name).stem == "batchllm"


if _is_program():  # a library changes nothing of its host
    _expect_interrupts()
