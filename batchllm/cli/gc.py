"""``batchllm gc``: give back the disk that a run does not need."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from attrs import asdict

from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.journals import find_journal
from batchllm.core import JournalError, counted
from batchllm.journal import Cleaned, clean

__all__ = ["give_back"]

_RANDOM = r"[a-z0-9_]{8}"
"""The part of the name that is drawn at random."""


def give_back(run: str, *, dry_run: bool, as_json: bool) -> ExitCode:
    """Give back the disk that a run does not need.

    Args:
        run: Its output, or its journal.
        dry_run: Whether nothing is changed.
        as_json: For programs.

    Raises:
        UsageError: The journal cannot be cleaned.
    """
    journal = find_journal(run)
    try:
        cleaned = clean(journal, dry_run=dry_run)
    except JournalError as error:
        raise UsageError(str(error)) from error
    files = _left_behind(Path(run).resolve()) if journal != Path(run) else []
    sizes = {str(path): path.stat().st_size for path in files}
    if not dry_run:
        for path in files:
            path.unlink()
    freed = cleaned.freed + sum(sizes.values())
    if as_json:
        found = {**asdict(cleaned), "files": sizes, "freed": freed, "dry_run": dry_run}
        print(json.dumps({"journal": str(journal), **found}, indent=2))
    else:
        print(_in_words(journal, cleaned, sizes, freed, dry_run=dry_run))
    return ExitCode.OK


def _left_behind(output: Path) -> list[Path]:
    """Find new outputs that a process was killed over before they could take the old one's place.

    No run is under way when they are looked for: it would hold the journal.
    """
    suffix = "".join(output.suffixes)
    name = re.compile(re.escape(f".{output.stem}.") + _RANDOM + re.escape(suffix))
    with os.scandir(output.parent) as entries:
        found = [e.path for e in entries if name.fullmatch(e.name) and e.is_file()]
    return sorted(map(Path, found))


def _in_words(
    journal: Path, cleaned: Cleaned, sizes: dict[str, int], freed: int, *, dry_run: bool
) -> str:
    before, after = cleaned.before, cleaned.after
    about = "about " if dry_run else ""
    lines = [f"{'Would free' if dry_run else 'Freed'} {about}{_bytes(freed)}"]
    lines.append(f"  {journal}: {_bytes(before)}, then {about}{_bytes(after)}")
    if cleaned.calls:
        lines.append(f"  {counted(cleaned.calls, 'call')} whose results later runs have replaced")
    if cleaned.strategies:
        lines.append(
            f"  {counted(cleaned.strategies, 'strategy', 'strategies')} of which no result is left"
        )
    lines += [f"  {name}: {_bytes(size)}, left by a killed run" for name, size in sizes.items()]
    return "\n".join(lines)


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"
