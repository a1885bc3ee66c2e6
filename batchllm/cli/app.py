"""The program ``batchllm``: its commands, and what becomes of their errors."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from attrs import frozen
from cyclopts import App, CycloptsError

from batchllm.cli import help_texts as texts
from batchllm.cli.exits import ExitCode, UsageError
from batchllm.version import __version__

__all__ = ["make_app", "run_program"]


@frozen
class _Command:
    """A command and its help; the function of its name is imported when it is used."""

    name: str
    help: str
    epilogue: str = ""
    usage: str | None = None


_COMMANDS = (
    _Command("run", texts.RUN, texts.RUN_EPILOGUE, texts.RUN_USAGE),
    _Command("estimate", texts.ESTIMATE, texts.ESTIMATE_EPILOGUE, texts.ESTIMATE_USAGE),
    _Command("status", texts.STATUS, texts.STATUS_EPILOGUE),
    _Command("jobs", texts.JOBS, texts.JOBS_EPILOGUE, texts.JOBS_USAGE),
    _Command("show", texts.SHOW, texts.SHOW_EPILOGUE),
    _Command("export", texts.EXPORT, texts.EXPORT_EPILOGUE),
    _Command("gc", texts.GC, texts.GC_EPILOGUE),
    _Command("report", texts.REPORT, texts.REPORT_EPILOGUE),
    _Command("init", texts.INIT, texts.INIT_EPILOGUE),
    _Command("models", texts.MODELS),
    _Command("serve-sim", texts.SERVE_SIM, texts.SERVE_SIM_EPILOGUE),
    _Command("serve-gate", texts.SERVE_GATE, texts.SERVE_GATE_EPILOGUE),
    _Command("completion", texts.COMPLETION, texts.COMPLETION_EPILOGUE),
)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_HELP_FLAGS = frozenset({"--help", "-h"})

_KINDS = {
    "int|Literal[auto]|None": "a whole number or auto",
    "int|None": "a whole number",
    "float|None": "a number",
    "int": "a whole number",
    "float": "a number",
}
"""Kinds of values in words, by the names of their types."""


def make_app() -> App:
    """Return the commands and their options; only what is used is imported."""
    app = App(
        name="batchllm",
        version=__version__,
        help=texts.PROGRAM,
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for command in _COMMANDS:
        app.command(
            f"batchllm.cli.commands:{command.name.replace('-', '_')}",
            name=command.name,
            help=command.help,
            usage=command.usage,
        )
    return app


def run_program(words: Sequence[str]) -> int:
    """Run the command that *words* give, and return the exit code."""
    debug = "--debug" in words
    try:
        ended: Any = make_app()(
            [word for word in words if word != "--debug"], exit_on_error=False, print_error=False
        )
        if (not words or _HELP_FLAGS & set(words)) and (examples := _epilogue_for(words)):
            print(f"\n{examples}")
        sys.stdout.flush()
    except BaseException as error:  # noqa: ASYNC103
        if isinstance(error, BrokenPipeError) or (
            # That is what Rich makes of it, which prints the help.
            isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
        ):
            _forget_the_rest()
            return ExitCode.OK  # noqa: ASYNC104
        if isinstance(error, SystemExit) or (debug and not isinstance(error, KeyboardInterrupt)):
            raise
        return _explain(error)  # noqa: ASYNC104
    return int(ended or ExitCode.OK)


def _epilogue_for(words: Sequence[str]) -> str:
    """Return the examples of the command that *words* name.

    They are printed as they stand. Rich would break their lines at the width of the terminal,
    and what is copied from there would be two commands.
    """
    names = (word for word in words if not word.startswith("-"))
    name = next(names, None)
    found = [command.epilogue for command in _COMMANDS if command.name == name]
    return found[0] if found else texts.PROGRAM_EPILOGUE


def _forget_the_rest() -> None:
    """Send what standard output still holds nowhere: its reader, such as ``head``, has gone.

    Or its disk is full. Python would write it at the exit, and complain on standard error.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _explain(error: BaseException) -> ExitCode:
    """Say in a sentence what went wrong."""
    if isinstance(error, BaseExceptionGroup) and error.split(KeyboardInterrupt)[0] is not None:
        error = KeyboardInterrupt()
    match error:
        case KeyboardInterrupt():
            _say("interrupted; rows that were written stay")
            return ExitCode.INTERRUPTED
        case CycloptsError():
            text = _in_plain_words(str(error))
            _say(f"{text}{_remedy_for(text)} ({_help_for(error)} shows how)")
            return ExitCode.USAGE
        case UsageError():
            _say(str(error))
            return ExitCode.USAGE
        case OSError(strerror=str(reason)):
            name = error.filename or "the system refuses it"
            if error.errno in _NO_ROOM:
                name = error.filename or "it cannot be written"
                if error.filename is None:  # else it is another file's, such as the journal's
                    with suppress(OSError):  # of standard output, if that has a file
                        _forget_the_rest()
            _say(f"{name}: {reason} (--debug shows where)")
            return ExitCode.STOPPED
        case _:
            from batchllm.core import BatchError  # loaded by now, unless the arguments are wrong

            if isinstance(error, BatchError):
                _say(str(error))
                return ExitCode.STOPPED
            last = traceback.format_exception_only(error)[-1].strip()
            _say(f"{last}. That should not have happened; --debug shows where it did")
            return ExitCode.STOPPED


def _remedy_for(text: str) -> str:
    """Return what to give where a new user is most likely to have left something out."""
    if "--model requires an argument" not in text:
        return ""
    return " Give -m provider:model, or try it with -m sim:default, which needs no key."


def _help_for(error: CycloptsError) -> str:
    """Return the command whose help has the options that *error* is about."""
    return " ".join(["batchllm", *(error.command_chain or ()), "--help"])


def _in_plain_words(text: str) -> str:
    """Name what an option takes by words for what its type says."""
    for kind, words in _KINDS.items():
        text = text.replace(f" into {kind}.", f" into {words}.")
    return text


def _say(text: str) -> None:
    with suppress(OSError):  # if standard error has gone as well, the exit code is left
        print(f"batchllm: {text}", file=sys.stderr)
