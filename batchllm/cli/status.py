"""``batchllm status``: how far a run has got."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from attrs import asdict

from batchllm.cli.ending import reason_in_options
from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.journals import find_journal
from batchllm.core import JournalError, counted
from batchllm.journal import JournalReader, RunRecord, open_reader, size_on_disk

__all__ = ["print_status"]


def print_status(run: str, *, as_json: bool) -> ExitCode:
    """Say how far a run has got.

    Args:
        run: Its output, or its journal.
        as_json: For programs.

    Raises:
        UsageError: It has no journal that can be read.
    """
    try:
        with open_reader(find_journal(run)) as journal:
            found = _read(journal)
    except JournalError as error:
        raise UsageError(str(error)) from error
    print(json.dumps(found, indent=2) if as_json else _in_words(found))
    return ExitCode.OK


def _read(journal: JournalReader) -> dict[str, Any]:
    driver = journal.driver()
    return {
        "journal": str(journal.path),
        "bytes": size_on_disk(journal.path),
        "running": None if driver is None else {"host": driver[0], "pid": driver[1]},
        **journal.counts(),
        "runs": [asdict(one) for one in journal.runs()],
    }


def _in_words(found: dict[str, Any]) -> str:
    rows = [
        ("Journal", f"{found['journal']} ({found['bytes'] / 1e6:,.1f} MB)"),
        ("Finished", f"{found['succeeded']:,} succeeded, {found['failed']:,} failed"),
    ]
    if found["refused"]:
        lines = counted(found["refused"], "line was", "lines were")
        rows.append(("Refused", f"{lines} wrong and never sent"))
    if found["input_tokens"] is not None:
        tokens = f"{found['input_tokens']:,} in, {found['output_tokens'] or 0:,} out"
        rows.append(("Tokens", tokens))
    if found["cost"] is not None:
        rows.append(("Cost", f"${found['cost']:,.2f}"))
    runs = [RunRecord(**one) for one in found["runs"]]
    running = found["running"]
    if running is not None:
        rows.append(("Now", f"process {running['pid']} on {running['host']} goes on with it"))
    if found["calls_without_end"]:
        calls = f"{found['calls_without_end']:,}"
        what = "under way" if running else "in flight when a run ended; they may be billed"
        rows.append(("Calls", f"{calls} {what}"))
    if runs:
        rows.append(("Last run", _last_run(runs[-1], going_on=running is not None)))
    return "\n".join(f"{name:<9} {text}" for name, text in rows)


def _last_run(run: RunRecord, *, going_on: bool) -> str:
    began = (
        datetime.fromtimestamp(run.started, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    )
    if run.ended is not None:
        reason = reason_in_options(run.reason or "")
        return f"number {run.number}, begun {began} UTC, ended by {run.cause}: {reason}"
    state = "going on" if going_on else "ended without a word, as if it was killed"
    return f"number {run.number}, begun {began} UTC, {state}"
