"""The folder of a journal that many machines write: names, the first of everything, no locks.

Each run has a number of its own, and each attempt at a block a file of its own, so that no two
workers ever write the same file.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from attrs import field, frozen

from batchllm.core import ConfigError, JournalError, kind_of
from batchllm.journal import create_private

__all__ = ["JournalFolder", "read_folder", "write_whole"]

_FORMAT: Final = 1
_PRIVATE: Final = 0o700
_SALT_BYTES: Final = 16


@frozen
class JournalFolder:
    """A journal, as a folder on a disk that all workers reach.

    Args:
        path: Of the folder.
        salt: The key of its digests.
    """

    path: Path
    salt: bytes = field(repr=False)

    @property
    def segments(self) -> Path:
        """Return the folder of results."""
        return self.path / "segments"

    def segment(self, run: int, block: int, attempt: int) -> Path:
        """Return the file with the results of one attempt at a block."""
        return self.segments / f"{run:04d}-{block:06d}-{attempt}.jsonl"

    def earlier_segments(self, run: int) -> list[Path]:
        """Return the files of the runs before *run*, in the order of runs, blocks and attempts."""
        files = [file for file in self.segments.glob("*.jsonl") if _numbers(file)[:1] < (run,)]
        return sorted(files, key=_numbers)

    def rows(self, run: int, block: int) -> Path:
        """Return the file with the rows of a block."""
        return self.path / f"rows-{run:04d}" / f"{block:06d}.parquet"

    def summary(self, run: int) -> Path:
        """Return the file with what a run came to."""
        return self.path / f"summary-{run:04d}.json"

    def strategy(self, digest: str) -> Path:
        """Return the file with the identity of a strategy."""
        return self.path / "strategies" / f"{digest}.json"

    def strategies(self) -> dict[str, str]:
        """Return the identities of all strategies that were used, by their digests."""
        files = sorted((self.path / "strategies").glob("*.json"))
        return {file.stem: file.read_text(encoding="utf-8") for file in files}

    def new_run(self) -> int:
        """Take the next number of a run, which no other run has.

        Raises:
            OSError: The folder cannot be written.
        """
        number = 1 + max((_number_of(file) for file in self.path.glob("rows-*")), default=0)
        while True:
            try:
                (self.path / f"rows-{number:04d}").mkdir(mode=_PRIVATE)
            except FileExistsError:
                number += 1
            else:
                return number

    def summaries(self) -> Iterator[dict[str, Any]]:
        """Yield what the runs that have ended came to, the last one first."""
        for file in sorted(self.path.glob("summary-*.json"), key=_number_of, reverse=True):
            yield json.loads(file.read_text(encoding="utf-8"))


def _numbers(file: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in file.stem.split("-") if part.isdigit())


def _number_of(file: Path) -> int:
    return next(iter(_numbers(file)), 0)


def read_folder(given: object, *, make: bool) -> JournalFolder:
    """Open the folder that a user or a driver names.

    Args:
        given: Its path.
        make: Whether it is made if it is not there.

    Raises:
        ConfigError: It is not the path of a folder.
        JournalError: It is there and is no journal, or it cannot be made or read.
    """
    if not isinstance(given, str | os.PathLike) or not str(given):
        msg = f"journal is {given!r}, {kind_of(given)}; give a folder on a disk that all nodes have"
        raise ConfigError(msg)
    if "://" in str(given):
        msg = (
            f"journal is {str(given)!r}; give a folder on a disk that all nodes have, such as "
            "'/mnt/shared/run-7': results are appended to its files, which object stores cannot do"
        )
        raise ConfigError(msg)
    path = Path(given).absolute()
    try:
        return _open(path, make=make)
    except OSError as error:
        msg = f"the journal {path} cannot be used: {error.strerror or error}"
        raise JournalError(msg, problem="io", path=str(path)) from error


def _open(path: Path, *, make: bool) -> JournalFolder:
    main = path / "journal.json"
    if make and not main.exists():
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            msg = f"the journal {path} is there, and is no folder of batchllm.ray; give another"
            raise JournalError(msg, problem="foreign", path=str(path))
        for folder in (path, path / "segments", path / "strategies"):
            folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        fields = {"format": _FORMAT, "salt": secrets.token_hex(_SALT_BYTES)}
        write_whole(main, json.dumps(fields).encode())
    if not main.exists():
        msg = (
            f"the journal {path} is not there on this machine; give a folder on a disk that all "
            "nodes of the cluster have, such as one that is mounted on each"
        )
        raise JournalError(msg, problem="missing", path=str(path))
    fields = json.loads(main.read_text(encoding="utf-8"))
    if fields.get("format") != _FORMAT:
        msg = f"the journal {path} was written by another version of batchllm; update batchllm"
        raise JournalError(msg, problem="newer", path=str(path))
    return JournalFolder(path, bytes.fromhex(fields["salt"]))


def write_whole(file: Path, data: bytes) -> None:
    """Make a file that is there with all of its bytes, or not at all.

    Raises:
        OSError: It cannot be written.
    """
    beside = file.with_name(f".{file.name}.{uuid4().hex[:8]}.part")
    try:
        create_private(beside)
        with beside.open("wb") as part:
            part.write(data)
            part.flush()
            os.fsync(part.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
