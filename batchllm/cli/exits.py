"""The end of a command: its exit code, and the error that the user can mend."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["EXIT_CODES", "ExitCode", "UsageError"]


class ExitCode(IntEnum):
    """The exit codes of the program."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    STOPPED = 3
    INTERRUPTED = 130


EXIT_CODES = """\
Exit codes

  0    every line has its answer, or the reader of a pipe had enough
  1    some lines have none; their rows say why
  2    the command or a setting is wrong; nothing was sent
  3    the run stopped before its end: a parked quota, a budget that is spent,
       a deadline, the same failure again and again, an input or an output
       that broke
  130  it was interrupted by Ctrl-C, SIGTERM or SIGHUP"""


class UsageError(Exception):
    """The command cannot be carried out as it was given; its message says what to change."""
