"""``batchllm show``: one line of a run."""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict

from batchllm.cli.exits import ExitCode, UsageError
from batchllm.cli.journals import find_journal
from batchllm.cli.rows import as_json as row_as_json
from batchllm.core import JournalError
from batchllm.journal import JournalReader, StoredRow, open_reader

__all__ = ["print_line"]

_SAID = ("model", "finish_reason", "reasoning", "refusal", "tool_calls", "citations", "notes")
"""The parts of what a provider said that people read; ``--json`` has all of it."""


def print_line(run: str, id: str, *, as_json: bool) -> ExitCode:
    """Show one line with its calls.

    Args:
        run: Its output, or its journal.
        id: The id of the line.
        as_json: For programs.

    Raises:
        UsageError: There is no such line.
    """
    try:
        with open_reader(find_journal(run)) as journal:
            stored = journal.item(id)
            if stored is None:
                msg = f"{journal.path} has no finished line {id!r}; batchllm status counts them"
                raise UsageError(msg)
            found = _read(journal, stored)
    except JournalError as error:
        raise UsageError(str(error)) from error
    print(json.dumps(json.loads(row_as_json(found)), indent=2) if as_json else _in_words(found))
    return ExitCode.OK


def _read(journal: JournalReader, stored: StoredRow) -> dict[str, Any]:
    result = stored.result
    return {
        "id": result.item_id,
        "success": result.success,
        "prompt": stored.prompt,
        "output": result.output,
        "error": result.error,
        "error_category": result.error_category,
        "attempts": result.attempts,
        "usage": dict(result.token_usage) or None,
        "cost": result.cost,
        "timing": [asdict(one) for one in result.timing.attempts],
        "metadata": result.metadata,
        "other_calls": [asdict(one) for one in journal.calls(stored.key)],
    }


def _in_words(found: dict[str, Any]) -> str:
    lines = [f"{found['id']}: {'succeeded' if found['success'] else 'failed'}"]
    for name in ("prompt", "output", "error", "error_category", "usage", "cost"):
        value = found[name]
        if value is not None:
            text = value if isinstance(value, str) else row_as_json(value)
            lines.append(
                f"\n{name.replace('_', ' ').capitalize()}\n  " + text.replace("\n", "\n  ")
            )
    said = found["metadata"] or {}
    for name in _SAID:
        if said.get(name):
            text = said[name] if isinstance(said[name], str) else row_as_json(said[name])
            title = name.replace("_", " ").capitalize()
            lines.append(f"\n{title}\n  " + text.replace("\n", "\n  "))
    lines.append(f"\nAttempts: {found['attempts']}")
    for number, one in enumerate(found["timing"], 1):
        waits = one["admission_wait"] + one["cooldown_wait"]
        lines.append(
            f"  call {number}: waited {waits:.2f} s, took {one['execution']:.2f} s, "
            f"then waited {one['backoff']:.2f} s"
        )
    for call in found["other_calls"]:
        ended = "no answer arrived; it may be billed" if call["ended"] is None else call["error"]
        lines.append(f"  attempt {call['attempt']}: {ended}")
    return "\n".join(lines)
