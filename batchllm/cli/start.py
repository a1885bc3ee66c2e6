"""The start of ``batchllm run``: a plan of what is to be done, then the run or a dry one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import anyio

from batchllm.cli.configuring import backend_options, processor_config
from batchllm.cli.display_choice import display_for
from batchllm.cli.displays import Display, QuietDisplay, SteadyStream
from batchllm.cli.estimating import dry_run
from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.job import Job
from batchllm.cli.plan import Plan, open_plan
from batchllm.cli.settings import RunSettings
from batchllm.cli.warnings_shown import warnings_shown_on

__all__ = ["run_job"]


def run_job(words: Sequence[str], settings: RunSettings, *, as_json: bool = False) -> ExitCode:
    """Carry out ``batchllm run``.

    Args:
        words: The inputs, or one prompt.
        settings: The options.
        as_json: Whether the end is one JSON object on standard output.

    Raises:
        UsageError: The command cannot be carried out as it was given.
    """
    config = processor_config(settings)
    with open_plan(words, settings) as plan:
        if settings.dry_run:
            return dry_run(plan, settings, as_json=as_json)
        if as_json and plan.output == "-" and not plan.single:
            msg = "--json writes the end to standard output, where the rows go; give -o FILE"
            raise UsageError(msg)
        display = _display(plan, settings)
        with warnings_shown_on(display, quiet=settings.quiet):
            for note in plan.notes:
                display.note(note)
            options = backend_options(settings.backend)
            return anyio.run(Job(plan, settings, config, display, as_json).run, **options)


def _display(plan: Plan, settings: RunSettings) -> Display:
    if plan.single:  # the answer is all that is wanted
        return QuietDisplay(SteadyStream(sys.stderr))
    return display_for(sys.stderr, quiet=settings.quiet, output=plan.output)
