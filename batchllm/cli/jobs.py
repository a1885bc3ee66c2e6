"""``batchllm jobs``: the provider's batches of a run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio

from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.journals import find_journal
from batchllm.core import ConfigError, JournalError, ProviderError, TransportError
from batchllm.engine import only_error
from batchllm.journal import Journal, open_journal, open_reader
from batchllm.llm_strategies import llm
from batchllm.provider_batch import BatchWire, Chunk, JobsOfRun, events_of, jobs_of, wire_of

__all__ = ["tend_jobs"]

Action = Literal["list", "show", "cancel", "adopt", "gc"]


def tend_jobs(
    run: str,
    action: Action,
    words: Sequence[str],
    *,
    account: bool,
    base_url: str | None,
    as_json: bool,
) -> ExitCode:
    """List the provider's batches of a run, and do something about them.

    Args:
        run: Its output, or its journal.
        action: What to do.
        words: What it is done with, such as the numbers of batches.
        account: With ``adopt``: the key was changed, and not the account.
        base_url: The address of the provider, if the run had one.
        as_json: For programs.

    Raises:
        UsageError: Something is wrong with them, or the provider refuses.
    """
    path = find_journal(run)
    try:
        with open_reader(path):  # says what is wrong with a file that is no journal
            pass
        if action in ("list", "show"):
            _look(path, action, words, as_json=as_json)
            return ExitCode.OK
        work = _Work(path, base_url)
        for line in anyio.run(partial(work.do, action, list(words), account=account)):
            print(line)
    except BaseExceptionGroup as group:
        raise UsageError(str(only_error(group))) from group
    except (ConfigError, JournalError, ProviderError, TransportError) as error:
        raise UsageError(str(error)) from error
    return ExitCode.OK


def _look(path: Path, action: Action, words: Sequence[str], *, as_json: bool) -> None:
    chunks = jobs_of(path)
    if action == "list":
        rows = [_row(chunk) for chunk in chunks]
        print(json.dumps(rows, indent=2) if as_json else _table(rows, path))
        return
    number = _numbers(words, "show")
    if len(number) != 1:
        msg = "jobs RUN show takes the number of one batch, as the list has it"
        raise UsageError(msg)
    found = [chunk for chunk in chunks if chunk.number == number[0]]
    if not found:
        msg = f"there is no batch {number[0]}; `batchllm jobs {shlex.quote(str(path))}` lists them"
        raise UsageError(msg)
    events = events_of(path, number[0])
    if as_json:
        said = [
            {"at": one.at, "before": one.before, "after": one.after, "detail": one.detail}
            for one in events
        ]
        print(json.dumps({**_row(found[0]), "events": said}, indent=2))
        return
    for name, value in _row(found[0]).items():
        if value not in (None, ""):
            print(f"{name:<10} {value}")
    for one in events:
        print(f"{_time(one.at)}  {one.after:<13} {one.detail}".rstrip())


def _row(chunk: Chunk) -> dict[str, Any]:
    return {
        "number": chunk.number,
        "state": chunk.state.value,
        "batch": chunk.batch_id,
        "status": chunk.status,
        "requests": chunk.lines,
        "done": chunk.done,
        "round": chunk.round,
        "provider": chunk.provider,
        "model": chunk.model,
        "submitted": None if chunk.submitted is None else _time(chunk.submitted),
        "paid_tokens": chunk.paid_tokens,
        "paid_cost": chunk.paid_cost,
        "paid_twice": chunk.twice,
        "note": chunk.note,
    }


def _table(rows: Sequence[dict[str, Any]], path: Path) -> str:
    if not rows:
        return f"{path} has no batches; batchllm run --mode batch makes some"
    head = ("number", "state", "batch", "status", "requests", "done", "submitted")
    cells = [head, *([_cell(row[name]) for name in head] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _numbers(words: Sequence[str], action: str) -> list[int]:
    try:
        return [int(word) for word in words]
    except ValueError:
        msg = f"jobs RUN {action} takes numbers of batches, as the list has them"
        raise UsageError(msg) from None


class _Work:
    """Work on the provider's batches of one journal."""

    def __init__(self, path: Path, base_url: str | None) -> None:
        self.path = path
        self.base_url = base_url

    async def do(self, action: Action, words: list[str], *, account: bool) -> list[str]:
        """Do it; return a sentence about each batch."""
        notes: list[str] = []
        async with open_journal(Journal(self.path), None, on_wait=notes.append) as journal:
            journal.ending = ("done", f"batchllm jobs {action}", "{}")
            work = JobsOfRun(journal, self._connect)
            match action:
                case "cancel":
                    said = await work.cancel(_numbers(words, "cancel"))
                case "adopt" if account:
                    said = [await work.adopt_account()]
                case "adopt":
                    if len(words) != 2:
                        msg = "jobs RUN adopt takes the number of a batch and the provider's id"
                        raise ConfigError(msg)
                    said = [await work.adopt(_numbers(words[:1], "adopt")[0], words[1])]
                case _:
                    said = await work.collect_garbage()
        return [*notes, *(said or ["there is nothing to do"])]

    def _connect(self, chunk: Chunk) -> BatchWire:
        # Any of the provider's models has the same key, and only batches are asked about.
        name = f"{chunk.provider}:{chunk.model}"
        return wire_of(llm(name, base_url=self.base_url))
