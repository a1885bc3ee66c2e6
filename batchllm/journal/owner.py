"""The driver of a journal: who it is, and if one that is written down is still alive."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import Final

from attrs import frozen

__all__ = [
    "BEAT_AT_MOST",
    "BEAT_EVERY",
    "SILENT_AFTER",
    "Driver",
    "holder_in_words",
    "is_alive",
    "this_process",
]

BEAT_EVERY: Final = 15.0
"""Seconds between two signs of life: four of them fit into SILENT_AFTER, so one may be late."""
BEAT_AT_MOST: Final = 1.0
"""Seconds in which one sign of life is enough: each takes a page of the log, which is 4 kB."""
SILENT_AFTER: Final = 60.0
"""Seconds without a sign of life after which a driver on another machine is taken for dead."""

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@frozen(kw_only=True)
class Driver:
    """A process that writes a journal.

    Attributes:
        token: Drawn for each opening; every commit checks it.
        host: The machine's name.
        boot: The machine's id of this boot, ``""`` if it has none.
        pid: The process id.
        born: When the process began, in the machine's own count; ``""`` if that is not known.
        beat: Its last sign of life, in seconds since 1970.
    """

    token: str
    host: str
    boot: str
    pid: int
    born: str
    beat: float


def this_process(now: float) -> Driver:
    """Describe this process.

    Args:
        now: Seconds since 1970.
    """
    try:
        boot = _BOOT.read_text().strip()
    except OSError:
        boot = ""
    return Driver(
        token=secrets.token_hex(8),
        host=socket.gethostname(),
        boot=boot,
        pid=os.getpid(),
        born=_born(os.getpid()) or "",
        beat=now,
    )


def is_alive(other: Driver, here: Driver, now: float) -> bool:
    """Return whether the driver that is written down may still write.

    Args:
        other: The one that is written down.
        here: This process.
        now: Seconds since 1970.
    """
    if other.host == here.host and other.boot == here.boot and other.boot:
        born = _born(other.pid)
        if born is None:
            return False
        if other.pid == here.pid and born == other.born:
            # Either another batch of this process, which gives signs of life, or one that failed
            # and could not even write that it has ended.
            return now - other.beat < SILENT_AFTER
        # A number may have been given to another process since: then it was born later.
        return not other.born or born == other.born
    if other.host == here.host and not other.boot and _is_gone(other.pid):
        return False
    # A sign of life that lies ahead is of a clock that goes wrong: taken for fresh, since two
    # drivers would both stop at the next commit, and a wait is cheaper.
    return now - other.beat < SILENT_AFTER


def _born(pid: int) -> str | None:
    """Return when a process of this machine began, ``""`` if unknown, ``None`` if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None if _BOOT.exists() else ""
    # The name in brackets may hold anything; after it come the state and, as the 20th field, the
    # start time. A zombie waits for its parent only, and writes nothing any more.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("X", "Z") else fields[19]


def _is_gone(pid: int) -> bool:
    """Return whether there surely is no such process; elsewhere than on POSIX nothing is sure."""
    if os.name != "posix":
        return False  # on Windows signal 0 is Ctrl-C
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def holder_in_words(other: Driver, here: Driver, now: float) -> str:
    """Say who writes the journal, and what to do about it."""
    if other.host == here.host and other.boot == here.boot and other.boot:
        if other.pid == here.pid:
            return "it is open in this process already: one batch at a time may write it"
        return f"process {other.pid} on this machine writes it: wait for its end, or stop it"
    seconds = max(0.0, now - other.beat)
    return (
        f"process {other.pid} on {other.host} writes it (last sign of life {seconds:.0f} s ago): "
        f"stop it, or try again {SILENT_AFTER:.0f} s after its end"
    )
