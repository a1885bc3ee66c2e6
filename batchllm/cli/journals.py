"""Finding the journal of a run that a user names by its output."""

from __future__ import annotations

from pathlib import Path

from batchllm.cli.journaling import SUFFIX

__all__ = ["find_journal"]


def find_journal(run: str) -> Path:
    """Return the journal of the run whose output, or journal, is *run*."""
    beside = Path(run + SUFFIX)
    return beside if beside.is_file() else Path(run)
