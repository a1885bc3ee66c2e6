"""The journal of a run of the command line, and the fate of files that are there."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from batchllm.cli.exits import UsageError
from batchllm.cli.settings import RunSettings
from batchllm.core import JournalError
from batchllm.journal import Journal, JournalWriter, OnChanged, check_idle, earlier_inputs

__all__ = [
    "SUFFIX",
    "check_inputs",
    "in_options",
    "journal_of",
    "prepare_files",
    "the_same_command",
]

SUFFIX = ".journal"
_BESIDE = ("-wal", "-shm", "-journal")
"""Files that SQLite keeps beside a database; each goes where the database goes."""

_OPTIONS = (
    (r'give Journal\(…, on_changed="rerun"\) to ask again', "give --rerun-changed to ask again"),
    (r'on_changed="keep" to take', "--keep-finished to take"),
    (r"or another path to start anew", "or --fresh to start anew"),
    (r'give on_changed="rerun" for another output', "give --rerun-changed for another output"),
    (r"give another path for the journal", "give another --journal"),
    (r"left as it is: give another path", "left as it is: give another --journal"),
    (r"or start anew with another file", "or give --fresh to start anew"),
)


def journal_of(settings: RunSettings, output: str, *, is_file: bool) -> Journal | None:
    """Return the journal of a run, ``None`` if it keeps none.

    Args:
        settings: The options.
        output: The name of the output.
        is_file: Whether that is a file on a disk, or will be one.

    Raises:
        UsageError: The options contradict each other.
    """
    if settings.rerun_changed and settings.keep_finished:
        msg = "--rerun-changed and --keep-finished contradict each other; give one of them"
        raise UsageError(msg)
    path = settings.journal
    if settings.no_journal:
        if path is not None:
            msg = "--journal and --no-journal contradict each other; give one of them"
            raise UsageError(msg)
        return None
    if path is None:
        if not is_file:
            return None
        path = Path(output + SUFFIX)
    changed: OnChanged = (
        "rerun" if settings.rerun_changed else "keep" if settings.keep_finished else "refuse"
    )
    # Finished rows stand in a file; on standard output they are written again, as are those of a
    # file in the order of the input.
    skip = is_file and not settings.ordered
    return Journal(
        path,
        on_resume="skip" if skip else "replay",
        retry_failed=settings.retry_failed,
        on_changed=changed,
    )


def prepare_files(
    settings: RunSettings,
    name: str,
    journal: Journal | None,
    *,
    is_file: bool,
    say: Callable[[str], None],
) -> None:
    """Put files out of the way, as --fresh and --overwrite say.

    Args:
        settings: The options.
        name: Of the output.
        journal: The journal of the run.
        is_file: Whether the output is a file on a disk, or will be one.
        say: Called with a sentence about the files that got another name.

    Raises:
        UsageError: An output is there that would be lost.
        JournalError: Another process drives the journal; or a file that is no journal would be
            lost.
    """
    output = Path(name)
    # Also with --no-journal, and with one elsewhere: what is left behind beside the output would
    # later cut the new file to its rows, and the run that writes it may go on.
    beside = [Path(name + SUFFIX)] if is_file else []
    path = Path(name + SUFFIX) if journal is None else journal.path
    journal_there = (journal is not None or is_file) and path.exists()
    if settings.fresh or settings.overwrite:
        files = [output] if is_file and output.is_file() else []
        journals = [path] if journal_there else []
        places = [_place_of(one) for one in journals]
        journals += [one for one in beside if one.exists() and _place_of(one) not in places]
        for one in journals:
            _check_may_go(one, is_lost=not settings.fresh)
        files += journals
        if not settings.fresh:
            for one in files:
                _remove(one)
        elif files:
            kept = _set_aside(files, beside=[output, path, *beside])
            say(f"kept from before: {' and '.join(map(str, kept))}")
    elif journal is None and journal_there:
        msg = (
            f"there is a journal of {name} to go on from, {path}; leave out --no-journal, or give "
            "--fresh to keep both under other names, or --overwrite to lose them"
        )
        raise UsageError(msg)
    elif is_file and output.exists() and not journal_there:
        msg = (
            f"the output {name} exists already, without a journal to go on from; give "
            "another name, --fresh to keep it under another one, or --overwrite to lose it"
        )
        raise UsageError(msg)


def _place_of(path: Path) -> Path:
    """Return the one name of an entry of a folder, which ``--journal`` may give in another way.

    If it is a link itself it stays one, since that is what would get another name.
    """
    return path.parent.resolve() / path.name


def _check_may_go(path: Path, *, is_lost: bool) -> None:
    """Pass if no process writes the journal, and what would be lost is one.

    One that cannot be read is written by none, and a file of another program keeps its contents
    under another name.
    """
    try:
        check_idle(path)
    except JournalError as error:
        if error.problem in ("in_use", "locked") or (is_lost and error.problem == "foreign"):
            raise


def _set_aside(files: Sequence[Path], beside: Sequence[Path]) -> list[Path]:
    """Give *files* another name, all with one number, which none of *beside* has; return it.

    An output and its journal stay a pair, and neither comes to lie beside another's.
    """
    number = 1
    while any(_numbered(path, number).exists() for path in beside):
        number += 1
    kept = []
    for path in files:
        kept.append(_numbered(path, number))
        for tail in ("", *_BESIDE):
            with suppress(FileNotFoundError):
                os.rename(f"{path}{tail}", f"{kept[-1]}{tail}")
    return kept


def _numbered(path: Path, number: int) -> Path:
    """Return ``answers.1.jsonl`` for ``answers.jsonl``, and the same for its journal."""
    name, suffix = path.name, ""
    if name.endswith(SUFFIX):
        name, suffix = name.removesuffix(SUFFIX), SUFFIX
    stem, dot, kind = name.partition(".") if not name.startswith(".") else (name, "", "")
    return path.with_name(f"{stem}.{number}{dot}{kind}{suffix}")


def _remove(path: Path) -> None:
    for tail in ("", *_BESIDE):
        with suppress(FileNotFoundError):
            os.unlink(f"{path}{tail}")


async def check_inputs(journal: JournalWriter, inputs: Sequence[str]) -> None:
    """Refuse one input after several, or several after one.

    With several, lines are known by input and id, with one by the id alone: so each line would be
    paid for again, and have two rows.

    Raises:
        UsageError: Finished lines would run again.
    """
    found = await journal.worker.call(partial(journal.store.with_output, earlier_inputs))
    earlier = json.loads(found or "[]")
    if not earlier or (len(earlier) > 1) == (len(inputs) > 1):
        return
    before = "one input" if len(earlier) == 1 else "several inputs"
    names = ", ".join(earlier)
    msg = (
        f"the journal {journal.settings.path} is of {before}, {names}; several keep their lines "
        f"apart, so all of them would run again: give {before} as before, or another -o, or "
        "--rerun-changed to ask again, or --fresh to start anew"
    )
    raise UsageError(msg)


def in_options(error: JournalError) -> str:
    """Say an error of a journal by the command's own options."""
    text = str(error)
    for pattern, words in _OPTIONS:
        text = re.sub(pattern, words, text)
    return text


def the_same_command() -> str:
    """Return the command as it was typed, without the options that hold for one time.

    Not without --retry-failed: after a stop there are failures that it has not tried yet.
    """
    once = {"--fresh", "--overwrite"}
    return shlex.join(["batchllm", *(word for word in sys.argv[1:] if word not in once)])
