"""``batchllm run``: files of prompts in, a file of results out."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from batchllm.cli.exits import ExitCode
from batchllm.cli.loading import uncollected
from batchllm.cli.settings import HOW, RunSettings

__all__ = ["run"]


def run(
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
        bool,
        Parameter(
            name="--json",
            group=HOW,
            negative="",
            show_default=False,
            help="The end as one JSON object on standard output, for a script; of a single prompt "
            "its row.",
        ),
    ] = False,
) -> ExitCode:
    """Send each line of INPUT to a model, and write a row for each."""
    # Imported here: the engine and the providers need not be there for --help.
    with uncollected():
        from batchllm.cli.job import run_job

    return run_job(inputs, settings, as_json=as_json)
