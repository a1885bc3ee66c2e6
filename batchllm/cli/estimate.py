"""``batchllm estimate``: what a run would take."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from batchllm.cli.exits import ExitCode
from batchllm.cli.settings import RunSettings

__all__ = ["estimate"]


def estimate(
    *inputs: Annotated[
        str,
        Parameter(
            name="INPUT",
            allow_leading_hyphen=True,
            help="Files, - for standard input, or one prompt in quotes.",
        ),
    ],
    settings: Annotated[RunSettings, Parameter(name="*")],
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", show_default=False, help="For a script.")
    ] = False,
) -> ExitCode:
    """Say what a run of the same options would take."""
    # Imported here: the engine and the providers need not be there for --help.
    from batchllm.cli.estimating import print_estimate

    return print_estimate(inputs, settings, as_json=as_json)
