"""``batchllm report``: a run as a page for people, or as figures for programs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.journaling import SUFFIX
from batchllm.cli.journals import find_journal
from batchllm.cli.output_names import check_no_journal, check_unread, is_file
from batchllm.core import JournalError, counted
from batchllm.reports import figures_of, is_report, read_report, render_report, save_report

__all__ = ["write_report"]


def write_report(
    run: str, output: str | None, *, overwrite: bool, texts: bool, as_json: bool
) -> ExitCode:
    """Write a report of a run.

    Args:
        run: Its output, or its journal.
        output: The page; by default the run with ``.html`` in place of its ending.
        overwrite: Whether a file that is no report is replaced.
        texts: Whether prompts and answers are in it.
        as_json: Whether to print the figures in its place.

    Raises:
        UsageError: The run has no journal, or the page cannot be written.
    """
    if as_json and output is not None:
        msg = "--json prints the figures; leave out -o, or --json"
        raise UsageError(msg)
    target = None if as_json or output == "-" else Path(output or _page_of(run))
    if target is not None:
        _check_target(target, overwrite=overwrite)
        check_unread(f"the report {target}", str(target), {run: "the output of the run"})
        check_no_journal(f"the report {target}", str(target))
    try:
        found = read_report(find_journal(run))
    except JournalError as error:
        raise UsageError(str(error)) from error
    if as_json:
        print(json.dumps(figures_of(found), indent=2))
        return ExitCode.OK
    page = render_report(found, texts=texts)
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
