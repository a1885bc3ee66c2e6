"""``batchllm completion``: commands and options, completed by the shell."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from batchllm.cli.exits import ExitCode

__all__ = ["completion"]


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Your shell.")], /
) -> ExitCode:
    """Print a script that completes commands and options."""
    from batchllm.cli.app import make_app  # which has this command among its own

    print(make_app().generate_completion(shell=shell))
    return ExitCode.OK
