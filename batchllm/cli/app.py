"""The program ``batchllm``: its commands, and what becomes of their errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError

from batchllm import __version__
from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.models import models
from batchllm.cli.run import RUN_EPILOGUE, RUN_HELP, run
from batchllm.cli.serve_sim import SERVE_SIM_EPILOGUE, SERVE_SIM_HELP, serve_sim
from batchllm.core import BatchError

__all__ = ["make_app", "run_program"]

_HELP = "Large batches of LLM calls: files in, files out."

_EPILOGUE = """\
Try it: batchllm run prompts.jsonl -m sim:default -o answers.jsonl

`batchllm run --help` has the options, examples and exit codes. --debug shows where an error \
came from."""


_KINDS = {
    "int|Literal[auto]|None": "a whole number or auto",
    "int|None": "a whole number",
    "float|None": "a number",
    "int": "a whole number",
    "float": "a number",
}


def make_app() -> App:
    """The commands and their options."""
    app = App(
        name="batchllm",
        version=__version__,
        help=_HELP,
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    app.command(run, name="run", help=RUN_HELP, help_epilogue=RUN_EPILOGUE)
    app.command(serve_sim, name="serve-sim", help=SERVE_SIM_HELP, help_epilogue=SERVE_SIM_EPILOGUE)
    app.command(models, name="models", help_epilogue="")
    return app


def run_program(words: Sequence[str]) -> int:
    """Run the command that *words* give, and return the exit code."""
    debug = "--debug" in words
    try:
        ended: Any = make_app()(
            [word for word in words if word != "--debug"], exit_on_error=False, print_error=False
        )
    except BaseException as error:  # noqa: ASYNC103
        if isinstance(error, SystemExit) or (debug and not isinstance(error, KeyboardInterrupt)):
            raise
        return _explain(error)  # noqa: ASYNC104
    return int(ended or ExitCode.OK)


def _explain(error: BaseException) -> ExitCode:
    """Say in a sentence what went wrong."""
    if isinstance(error, BaseExceptionGroup) and error.split(KeyboardInterrupt)[0] is not None:
        error = KeyboardInterrupt()
    match error:
        case KeyboardInterrupt():
            _say("interrupted; rows that were written stay")
            return ExitCode.INTERRUPTED
        case CycloptsError():
            _say(f"{_in_plain_words(str(error))} (batchllm --help shows how)")
            return ExitCode.USAGE
        case UsageError():
            _say(str(error))
            return ExitCode.USAGE
        case BatchError():
            _say(str(error))
            return ExitCode.STOPPED
        case _:
            last = traceback.format_exception_only(error)[-1].strip()
            _say(f"{last}. That should not have happened; --debug shows where it did")
            return ExitCode.STOPPED


def _in_plain_words(text: str) -> str:
    """Name what an option takes by words for what its type says."""
    for kind, words in _KINDS.items():
        text = text.replace(f" into {kind}.", f" into {words}.")
    return text


def _say(text: str) -> None:
    print(f"batchllm: {text}", file=sys.stderr)
