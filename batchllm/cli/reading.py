"""Where lines come from: a file, read lazily, or a pipe, read as it fills."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import anyio.from_thread
import anyio.to_thread
from attrs import define, evolve, field

from batchllm.cli.exits import UsageError
from batchllm.cli.lines import InputFormat, LineReader
from batchllm.core import NumberedItem
from batchllm.engine import blocking_source

__all__ = ["Input", "LineSource", "format_of", "open_input"]

_BY_SUFFIX: dict[str, InputFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".text": "text",
    ".txt": "text",
}
_STANDARD_INPUT = 0
_AT_ONCE = 65_536
_BETWEEN_CHECKS = 100_000


def format_of(name: str, given: InputFormat | None) -> InputFormat:
    """The format of the input *name*.

    Raises:
        UsageError: It is a folder, or neither its name nor the user names its format.
    """
    if Path(name).is_dir():
        msg = f"the input {name} is a folder; give one file, or - and pipe several into it"
        raise UsageError(msg)
    if given is not None:
        return given
    if name == "-":
        return "jsonl"
    known = _BY_SUFFIX.get(Path(name).suffix.lower())
    if known is None:
        msg = (
            f"the name {name} does not show its format; give --input-format jsonl (a JSON object "
            "per line) or --input-format text (a prompt per line)"
        )
        raise UsageError(msg)
    return known


@define(eq=False)
class Input:
    """An open input.

    Attributes:
        name: As messages show it.
        file: Its bytes.
        regular: Whether it is a file on a disk, which is there as a whole and never waits.
    """

    name: str
    file: BinaryIO
    regular: bool

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def count_lines(self) -> int:
        """Count the lines that are not blank, in a worker thread: it ends when it is cancelled."""
        count = 0
        with Path(self.name).open("rb") as file:
            for number, line in enumerate(file):
                count += not line.isspace()
                if number % _BETWEEN_CHECKS == 0:
                    anyio.from_thread.check_cancelled()
        return count


def open_input(name: str) -> Input:
    """Open a file, or standard input for ``-``.

    Raises:
        UsageError: It cannot be opened.
    """
    try:
        if name == "-":
            pipe = open(_STANDARD_INPUT, "rb", buffering=0, closefd=False)  # noqa: SIM115
            return Input("standard input", pipe, regular=False)
        file = open(name, "rb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        msg = f"the input {name} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from None
    return Input(name, file, stat.S_ISREG(os.fstat(file.fileno()).st_mode))


@define(eq=False)
class LineSource:
    """Turns an input into items, each with its line as the context.

    A line that cannot be sent becomes an item that the engine refuses, so that it gets its one
    result in its own place like every other.

    Args:
        input: Where the lines come from.
        reader: Reads one of them.
        limit: The most lines to take.
    """

    input: Input
    reader: LineReader
    limit: int | None = None
    _taken: int = field(default=0, init=False)

    def items(self) -> Any:
        """The items, for a batch to read: a file in a thread, a pipe as it fills."""
        if self.limit == 0:
            return ()
        # A disk may be slow too, and one behind a network stand still.
        return blocking_source(self._from_file()) if self.input.regular else self._from_pipe()

    def _from_file(self) -> Iterator[Any]:
        for number, raw in enumerate(self.input.file, 1):
            yield from self._items_of(number, raw)
            if self._taken == self.limit:
                return

    async def _from_pipe(self) -> AsyncIterator[Any]:
        number, rest = 0, b""
        while data := await _read_some(self.input.file.fileno()):
            *lines, rest = (rest + data).split(b"\n")
            for raw in lines:
                number += 1
                for item in self._items_of(number, raw):
                    yield item
                if self._taken == self.limit:
                    return
        for item in self._items_of(number + 1, rest):
            yield item

    def _items_of(self, number: int, raw: bytes) -> Iterator[Any]:
        line = self.reader.read(number, raw)
        if line is not None:
            self._taken += 1
            # Without its prompt, which is the item's own.
            context = evolve(line, prompt=None)
            if line.named or line.problem:
                yield line.item_id, None if line.problem else line.prompt, context
            else:
                yield NumberedItem(line.item_id, line.prompt, context)


async def _read_some(descriptor: int) -> bytes:
    """Return the bytes that are there, at least one; none at the end."""
    try:
        await anyio.wait_readable(descriptor)
    except (OSError, NotImplementedError):
        # Files and null devices cannot be waited for, nor can any pipe on Windows.
        read: Callable[[int, int], bytes] = os.read
        return await anyio.to_thread.run_sync(read, descriptor, _AT_ONCE, abandon_on_cancel=True)
    return os.read(descriptor, _AT_ONCE)
