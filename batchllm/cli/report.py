"""``batchllm report``: a run as a page for people, or as figures for programs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.journaling import SUFFIX
from batchllm.cli.journals import find_journal
from batchllm.cli.writing import is_file
from batchllm.core import JournalError, counted
from batchllm.reports import figures_of, is_report, read_report, render_report, save_report

__all__ = ["report"]


def report(
    run: Annotated[str, Parameter(help="The run's output, or its journal.")],
    /,
    *,
    output: Annotated[
        str | None,
        Parameter(
            name=("--output", "-o"),
            allow_leading_hyphen=True,
            help="The page; by default RUN with .html in place of its ending.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Replace a file that is no report."),
    ] = False,
    no_texts: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Leave prompts and answers out."),
    ] = False,
    json_: Annotated[
        bool,
        Parameter(
            name="--json",
            negative="",
            show_default=False,
            help="Print the figures as JSON.",
        ),
    ] = False,
) -> ExitCode:
    """Write a report of a run: one page of HTML that needs no network."""
    if json_ and output is not None:
        msg = "--json prints the figures; leave out -o, or --json"
        raise UsageError(msg)
    target = None if json_ or output == "-" else Path(output or _page_of(run))
    if target is not None:
        _check_target(target, overwrite=overwrite)
    try:
        found = read_report(find_journal(run))
    except JournalError as error:
        raise UsageError(str(error)) from error
    if json_:
        print(json.dumps(figures_of(found), indent=2))
        return ExitCode.OK
    page = render_report(found, texts=not no_texts)
    if target is None:
        sys.stdout.buffer.write(page.encode("utf-8", "replace"))
        return ExitCode.OK
    try:
        save_report(page, target)
    except OSError as error:
        msg = f"the report {target} cannot be written: {error.strerror or error}"
        raise UsageError(msg) from error
    size = target.stat().st_size
    print(
        f"{target}: {counted(found.counting.items, 'item')}, {size / 1e6:.1f} MB", file=sys.stderr
    )
    return ExitCode.OK


def _page_of(run: str) -> str:
    """Return ``answers.html`` for ``answers.jsonl`` or its journal."""
    name = run.removesuffix(SUFFIX).removesuffix(".gz")
    stem, ending = os.path.splitext(name)
    return f"{stem if ending else name}.html"


def _check_target(target: Path, *, overwrite: bool) -> None:
    """Pass if nothing but a report stands there.

    Raises:
        UsageError: Another file does, or there is no folder for it.
    """
    if not is_file(str(target)):
        msg = f"the report {target} is no file; give the name of one, or - for standard output"
        raise UsageError(msg)
    if not target.parent.is_dir():
        msg = f"the report {target}: there is no folder {target.parent}"
        raise UsageError(msg)
    if target.exists() and not overwrite and not is_report(target):
        msg = f"{target} exists and is no report; give another -o, or --overwrite to lose it"
        raise UsageError(msg)
