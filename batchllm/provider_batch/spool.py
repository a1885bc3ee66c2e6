"""Files beside the journal: the lines of chunks, their results, and items that wait.

Everything here is synchronous and called from the journal's thread. Lines and results outlive the
process; the items of a run do not, since the next one gets them from its own source.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import pickle
from array import array
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from batchllm.core import JournalError, LLMWorkItem

__all__ = ["Items", "Spool", "folder_of"]

_SEGMENT: Final = 64 * 1024 * 1024
"""Bytes of one file of items: small against a disk, large against a file's own cost."""


def folder_of(journal: Path) -> Path:
    """Return the folder in which batches are kept until they are settled: beside the journal."""
    return journal.with_name(f"{journal.name}.batches")


@define(eq=False)
class _Reader:
    """Reads pieces of files, and keeps the last one open: pieces of one file follow each other."""

    _path: Path | None = field(default=None, init=False)
    _stream: Any = field(default=None, init=False)

    def at(self, path: Path, start: int) -> Any:
        """Return the stream of a file, which goes on at *start*."""
        if path != self._path:
            self.close()
            self._stream, self._path = path.open("rb"), path
        self._stream.seek(start)
        return self._stream

    def close(self) -> None:
        """Let go of the file: after a page of them, and before it is deleted or written anew."""
        if self._stream is not None:
            self._stream.close()
        self._stream = self._path = None


@define(eq=False)
class Spool:
    """The folder of one journal's batches.

    Args:
        folder: It is made with mode 0700 when the first file is.
    """

    folder: Path
    _reader: _Reader = field(factory=_Reader, init=False)

    def write_lines(self, chunk: int, lines: Sequence[bytes]) -> tuple[int, str]:
        """Write the lines of a chunk, and flush them to the disk.

        Returns:
            The size of the file and its SHA-256.

        Raises:
            JournalError: The disk is full, or the folder cannot be written.
        """
        digest, size = hashlib.sha256(), 0
        for line in lines:
            digest.update(line)
            size += len(line)
        self._put(self._lines(chunk), lines)
        return size, digest.hexdigest()

    def read_lines(self, chunk: int) -> bytes | None:
        """Return the lines of a chunk; ``None`` if they are not there."""
        try:
            return self._lines(chunk).read_bytes()
        except FileNotFoundError:
            return None

    def open_part(self, chunk: int, part: int) -> Any:
        """Open the file that a result is downloaded into, from its beginning."""
        self._make_folder()
        return _private(self._part(chunk, part))

    def keep_part(self, chunk: int, part: int, stream: Any) -> None:
        """Flush a download that is complete, and give it its name."""
        with stream:
            stream.flush()
            os.fsync(stream.fileno())
        self._reader.close()
        self._part(chunk, part).replace(self.result(chunk, part))
        self._flush_folder()

    def result(self, chunk: int, part: int) -> Path:
        """Return the path of a result file."""
        return self.folder / f"c{chunk}-r{part}.jsonl"

    def read_answer(self, chunk: int, part: int, start: int, size: int) -> bytes:
        """Read one line of a result file."""
        data: bytes = self._reader.at(self.result(chunk, part), start).read(size)
        return data

    def let_go(self) -> None:
        """Close what was opened for reading."""
        self._reader.close()

    def drop_lines(self, chunk: int) -> None:
        """Delete the lines of a chunk, which the provider has."""
        self._lines(chunk).unlink(missing_ok=True)

    def drop(self, chunk: int) -> None:
        """Delete all files of a chunk."""
        self.drop_lines(chunk)
        self._reader.close()
        for path in self.folder.glob(f"c{chunk}-r*"):
            path.unlink(missing_ok=True)

    def sweep(self, chunks: Collection[int]) -> None:
        """Delete the files of all chunks but these: a process that died may have left some."""
        for path in self.folder.glob("c*-*"):
            number = path.name[1:].partition("-")[0]
            if not number.isdigit() or int(number) not in chunks:
                path.unlink(missing_ok=True)

    def drop_folder(self) -> None:
        """Delete the folder, if nothing is in it."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _lines(self, chunk: int) -> Path:
        return self.folder / f"c{chunk}-lines.jsonl"

    def _part(self, chunk: int, part: int) -> Path:
        return self.folder / f"c{chunk}-r{part}.part"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise self.failed(error) from error

    def _put(self, path: Path, lines: Sequence[bytes]) -> None:
        self._make_folder()
        try:
            with _private(path) as stream:
                stream.writelines(lines)  # one by one: a chunk is tens of megabytes
                stream.flush()
                os.fsync(stream.fileno())
            self._flush_folder()
        except OSError as error:
            raise self.failed(error) from error

    def _flush_folder(self) -> None:
        if os.name == "posix":  # elsewhere a folder cannot be opened
            handle = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def failed(self, error: OSError) -> JournalError:
        """Return the error for a folder that cannot be written."""
        return _failed(self.folder, error)


def _failed(folder: Path, error: OSError) -> JournalError:
    msg = (
        f"the folder {folder}, in which batches are kept until they are settled, cannot be "
        f"written: {error.strerror or error}"
    )
    return JournalError(msg, problem="io", path=str(folder))


def _private(path: Path) -> Any:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(handle, "wb")


@define(eq=False)
class Items:
    """The items of this run whose answers are on their way, by the numbers of their lines.

    Prompts wait on the disk, so that a million of them take eight megabytes of memory: one number
    each. A context that is not made of plain values waits in memory, since it has to come back as
    the object that it is.

    Args:
        folder: Where the files are; what an earlier process left there is deleted.
    """

    folder: Path
    _places: array[int] = field(factory=lambda: array("Q"), init=False)
    _objects: dict[int, Any] = field(factory=dict, init=False)
    _left: dict[int, int] = field(factory=dict, init=False)
    _reader: _Reader = field(factory=_Reader, init=False)
    _stream: Any = field(default=None, init=False)
    _segment: int = field(default=0, init=False)
    _at: int = field(default=0, init=False)

    def put(self, rows: Sequence[tuple[int, LLMWorkItem[Any, Any, Any], int]]) -> None:
        """Keep items: the number of the line, the item, and its position in the input.

        Raises:
            JournalError: The disk is full, or the folder cannot be written.
        """
        try:
            self._write(rows)
        except OSError as error:
            raise _failed(self.folder, error) from error

    def _write(self, rows: Sequence[tuple[int, LLMWorkItem[Any, Any, Any], int]]) -> None:
        self._open()
        written: list[bytes] = []
        for line, work, position in rows:
            data = self._pack(line, work, position)
            if line >= len(self._places):
                self._places.extend([0] * (line + 1 + len(self._places) // 8 - len(self._places)))
            # One more than the place, so that 0 stands for no item.
            self._places[line] = (self._segment << 40 | self._at) + 1
            self._at += 4 + len(data)
            self._left[self._segment] = self._left.get(self._segment, 0) + 1
            written.append(len(data).to_bytes(4, "big") + data)
        self._stream.write(b"".join(written))
        self._stream.flush()

    def has(self, line: int) -> bool:
        """Return whether the item of a line is here."""
        return line < len(self._places) and self._places[line] > 0

    def get(self, line: int) -> tuple[LLMWorkItem[Any, Any, Any], int]:
        """Return an item and its position in the input."""
        place = self._places[line] - 1
        stream = self._reader.at(self._path(place >> 40), place & (1 << 40) - 1)
        size = int.from_bytes(stream.read(4), "big")
        data: bytes = stream.read(size)
        plain, packed = data[:1] == b"m", data[1:]
        values = marshal.loads(packed) if plain else pickle.loads(packed)
        item_id, prompt, context, timeout, attempts, priority, position = values
        if line in self._objects:
            context = self._objects[line]
        work: LLMWorkItem[Any, Any, Any] = LLMWorkItem(
            item_id,
            None,
            prompt,
            context,
            timeout=timeout,
            max_attempts=attempts,
            priority=priority,
        )
        return work, position

    def let_go(self) -> None:
        """Close what was opened for reading."""
        self._reader.close()

    def drop(self, line: int) -> None:
        """Forget an item; a file of which no item is left is deleted."""
        segment = self._places[line] - 1 >> 40
        self._places[line] = 0
        self._objects.pop(line, None)
        self._left[segment] -= 1
        if not self._left[segment] and segment != self._segment:
            self._reader.close()
            self._path(segment).unlink(missing_ok=True)

    def close(self) -> None:
        """Delete all files."""
        self._reader.close()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        for path in self.folder.glob("items-*"):
            path.unlink(missing_ok=True)

    def _pack(self, line: int, work: LLMWorkItem[Any, Any, Any], position: int) -> bytes:
        context = work.context
        values = (
            work.item_id,
            work.prompt,
            context,
            work.timeout,
            work.max_attempts,
            work.priority,
            position,
        )
        try:
            return b"m" + marshal.dumps(values)
        except ValueError:  # something in it is no plain value
            self._objects[line] = context
        return b"p" + pickle.dumps((*values[:2], None, *values[3:]))

    def _open(self) -> None:
        if self._stream is None:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self.close()
        elif self._at < _SEGMENT:
            return
        else:
            self._stream.close()
            self._segment, self._at = self._segment + 1, 0
        self._stream = _private(self._path(self._segment))

    def _path(self, segment: int) -> Path:
        return self.folder / f"items-{segment}"
