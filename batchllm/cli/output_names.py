"""Names of outputs: the files that they stand for, and those that are never written over."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from batchllm.cli.exits import UsageError
from batchllm.cli.formats import format_of_output
from batchllm.cli.parquet import pyarrow_or_refuse
from batchllm.journal import is_journal

__all__ = ["check_no_journal", "check_output", "check_unread", "is_file", "number_of_open_file"]

_NONE: Mapping[str, str] = MappingProxyType({})
_STANDARD = {"stdout": 1, "stderr": 2}
_OPEN_FILE = re.compile(r"/dev/(?:(stdout|stderr)|fd/(\d+))|/proc/self/fd/(\d+)")


def check_output(name: str, inputs: Sequence[str], others: Mapping[str, str] = _NONE) -> None:
    """Refuse an output that can never be right, before anything is opened.

    Args:
        name: Where to write.
        inputs: The inputs, which are never written over.
        others: More files that the run reads, and what each is.

    Raises:
        UsageError: It is one of these or a journal, or its name promises another kind of file.
    """
    if name == "-":
        return
    kind, _ = format_of_output(name)
    if kind == "parquet":
        pyarrow_or_refuse(name)
    check_unread(f"the output {name}", name, {**dict.fromkeys(inputs, "the input"), **others})
    check_no_journal(f"the output {name}", name)


def check_unread(what: str, name: str, others: Mapping[str, str]) -> None:
    """Pass if a file that is to be written has not another use already.

    Args:
        what: The file, as messages name it.
        name: Its path.
        others: Files that have one, and what each is.

    Raises:
        UsageError: It is one of them.
    """
    for one, role in others.items():
        if os.path.exists(name) and os.path.exists(one):
            is_same = os.path.samefile(name, one)
        else:
            is_same = os.path.abspath(name) == os.path.abspath(one)
        if is_same:
            msg = f"{what} is {role} itself; give another name"
            raise UsageError(msg)


def check_no_journal(what: str, name: str) -> None:
    """Pass if no journal stands where a file is to be written, whatever the user lets go.

    Answers may be in it that are nowhere else, and they were paid for.

    Args:
        what: The file, as messages name it.
        name: Its path.

    Raises:
        UsageError: One does.
    """
    if is_journal(Path(name)):
        msg = f"{what} is the journal of a run, with its answers; give another name"
        raise UsageError(msg)


def is_file(name: str) -> bool:
    """Return whether an output is a file on a disk, or will be one: no device, no pipe."""
    if name == "-" or number_of_open_file(name) is not None:
        return False
    return not os.path.exists(name) or os.path.isfile(name)


def number_of_open_file(name: str) -> int | None:
    """Return the number of the open file that a name such as ``/dev/stdout`` stands for.

    Behind it may be a file on a disk. To open it by the name would empty it, also if rows were to
    be appended to it, and to remove the name would take it from every program of the machine.
    """
    found = _OPEN_FILE.fullmatch(os.path.abspath(name))
    if found is None:
        return None
    return _STANDARD[found[1]] if found[1] else int(found[2] or found[3])
