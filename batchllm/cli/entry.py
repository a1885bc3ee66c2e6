"""The entry point of the script: the version at once, everything else by the program."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from batchllm.cli.loading import in_own_process, uncollected
from batchllm.version import __version__

__all__ = ["main"]

_STANDARD_FILES = (0, 1, 2)
_AS_IN_JSON = "batchllm.as_in_json"
_INTERRUPTED = 130
"""As in ``exits``, which would have to be imported for it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit code.

    Args:
        arguments: In place of the program's own.
    """
    _fill_closed_files()
    _print_any_letter()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(__version__)
        return 0
    with in_own_process() if arguments is None else nullcontext():
        return _run(words)


def _run(words: Sequence[str]) -> int:
    # Imported here, since the version need not wait for a parser of options.
    try:
        with uncollected():
            from batchllm.cli.app import run_program
    except KeyboardInterrupt:
        print("batchllm: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return run_program(words)


def _print_any_letter() -> None:
    """Print ``\\u2026`` for a letter that standard output has no bytes for.

    Its encoding is the system's, such as that of a code page of Windows if it leads into a file,
    and a prompt, an answer or the help may have any letter.
    """
    reconfigure = getattr(sys.stdout, "reconfigure", None)  # a test's own stream has none
    if reconfigure is not None:
        codecs.register_error(_AS_IN_JSON, _escaped)
        reconfigure(errors=_AS_IN_JSON)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Escape letters as JSON does, and return where to go on.

    Python's own ``backslashreplace`` has ``\\xe9`` and ``\\U0001f600`` as well, which JSON has not,
    and a prompt that is shown may be JSON.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), error.end


def _fill_closed_files() -> None:
    """Open the null device for each standard file that the shell closed, as by ``2>&-``.

    Otherwise the next file that is opened takes its number, and what is meant for the terminal
    would be written into it. Python has ``None`` for such a stream, to which ``print`` prefers
    standard output.
    """
    for number in _STANDARD_FILES:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
