"""Writing a report: of what, and into which file."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import evolve

from batchllm.core import BatchResult, ConfigError, kind_of
from batchllm.journal import Journal, is_journal
from batchllm.reports.report import Report
from batchllm.reports.sources import report_of_journal, report_of_result

__all__ = ["is_report", "read_report", "render_report", "save_report", "write_report"]

_HEAD = 1_000
"""Bytes at the beginning of a page among which it names the program that wrote it."""


def write_report(
    source: BatchResult[Any, Any] | Journal | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    texts: bool = True,
) -> Path:
    """Write a report of a run: one file of HTML that needs no network.

    A result whose run kept a journal is reported from it, since the journal also has prompts and
    what happened when; one without has neither. A journal can be read while its run goes on.
    What looks like a provider's key is masked. The function blocks: for a million items for about
    a minute, so call it in a worker thread if an event loop must not wait.

    Example:
        >>> result = run_batch_sync(["a", "b"], llm("sim:default"), journal="run.db")
        >>> write_report(result, "run.html")
        PosixPath('run.html')

    Args:
        source: What ``run_batch`` returned, or a journal, or its path.
        path: The file, which is replaced if it is there.
        texts: Whether prompts and answers are shown, and what was said beside them. Messages of
            errors are shown in any case.

    Returns:
        The path of the file.

    Raises:
        ConfigError: *source* or *path* is something else, or *path* is a journal.
        JournalError: The journal is not there, or cannot be read.
        OSError: The file cannot be written.
    """
    if not isinstance(path, str | os.PathLike) or not str(path):
        msg = f"path is {path!r}, {kind_of(path)}; give the name of a file"
        raise ConfigError(msg)
    target = Path(path)
    if is_journal(target):
        msg = f"path {target} is the journal of a run, with its answers; give another name"
        raise ConfigError(msg)
    save_report(render_report(read_report(source), texts=texts), target)
    return target


def read_report(source: BatchResult[Any, Any] | Journal | str | os.PathLike[str]) -> Report:
    """Read what a report shows; as for :func:`write_report`.

    Raises:
        ConfigError: *source* is something else.
        JournalError: The journal is not there, or cannot be read.
    """
    if isinstance(source, BatchResult):
        journal = _journal_of(source)
        if journal is None:
            return report_of_result(source)
        return evolve(report_of_journal(journal), warnings=source.warnings)
    if isinstance(source, Journal):
        return report_of_journal(source.path)
    if isinstance(source, str | os.PathLike) and str(source):
        return report_of_journal(Path(source))
    msg = f"source is {source!r}, {kind_of(source)}; give a BatchResult, or a journal or its path"
    raise ConfigError(msg)


def _journal_of(result: BatchResult[Any, Any]) -> Path | None:
    kept = result.stats.get("journal")
    path = kept.get("path") if isinstance(kept, dict) else None
    return Path(path) if isinstance(path, str) and os.path.isfile(path) else None


def render_report(report: Report, *, texts: bool = True) -> str:
    """Return the page of a report."""
    # Imported here, since templates take a tenth of a second that `import batchllm` has not.
    from batchllm.reports.page import page_of

    return page_of(report, now=time.time(), texts=texts)


def save_report(page: str, target: Path) -> None:
    """Put a page in its place once it is whole.

    Raises:
        OSError: It cannot be written; what was there is as it was.
    """
    target = Path(os.path.realpath(target))  # of a link the file is replaced, not the link
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        # As open() makes it, so that the user's mask decides who may read it.
        with beside.open("xb") as file:
            file.write(page.encode("utf-8", "replace"))
        with suppress(FileNotFoundError):
            beside.chmod(target.stat().st_mode & 0o7777)
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def is_report(path: Path) -> bool:
    """Return whether a file is a report, so that nothing is lost if another takes its place."""
    from batchllm.reports.page import MARKER

    with path.open("rb") as file:
        return MARKER.encode() in file.read(_HEAD)
