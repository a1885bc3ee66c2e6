"""The entry point of the script: the version at once, everything else by the program."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from batchllm import __version__

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit code.

    Args:
        arguments: In place of the program's own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(__version__)
        return 0
    # Imported here, since it takes half a second that the version need not wait for.
    from batchllm.cli.app import run_program

    return run_program(words)
