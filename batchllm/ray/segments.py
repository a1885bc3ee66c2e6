"""A segment: the results of one attempt at one block, line after line. Pure.

Each line begins with the checksum of its rest, so that half a line of a worker that was killed, or
one that a disk in the network shows before its bytes are there, is no result.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from attrs import frozen

from batchllm.journal import State

__all__ = ["Header", "Line", "Stored", "read_line", "scan", "write_header", "write_stored"]

_FORMAT: Final = 1
_SUM: Final = 9
"""Bytes before the rest of a line: eight hexadecimal digits and a space."""
_LETTERS: Final = {State.DONE: b"D", State.FAILED: b"F", State.BLOCKED: b"B"}
_STATES: Final = {letter: state for state, letter in _LETTERS.items()}
_KEY_BYTES: Final = 16
_NO_COST: Final = b"-"


@frozen
class Header:
    """The first line of a segment.

    Attributes:
        strategy: The digest of the strategy's identity, in hexadecimal digits.
        run: The number of the run.
        block: Its block.
        attempt: The attempt at that block, from 1.
    """

    strategy: str
    run: int
    block: int
    attempt: int


@frozen
class Stored:
    """One result.

    Attributes:
        state: How its item ended.
        key: The digest of the item's id and prompt.
        cost: US dollars, ``None`` if no price was known.
        payload: The rest of the result, as the journal writes it.
    """

    state: State
    key: bytes
    cost: float | None
    payload: bytes


@frozen
class Line:
    """The place of a result in a segment.

    Attributes:
        offset: Bytes before it.
        state: How its item ended.
        key: The digest of the item's id and prompt.
    """

    offset: int
    state: State
    key: bytes


def write_header(header: Header) -> bytes:
    """Return the first line of a segment."""
    fields = {
        "format": _FORMAT,
        "strategy": header.strategy,
        "run": header.run,
        "block": header.block,
        "attempt": header.attempt,
    }
    return _sealed(b"H " + msgspec.json.encode(fields))


def write_stored(stored: Stored) -> bytes:
    """Return the line of a result."""
    cost = _NO_COST if stored.cost is None else repr(stored.cost).encode()
    parts = (_LETTERS[stored.state], stored.key.hex().encode(), cost, stored.payload)
    return _sealed(b" ".join(parts))


def read_line(line: bytes) -> Stored | None:
    """Read the line of a result; ``None`` if it is damaged, or none of a result."""
    rest = _opened(line)
    if rest is None:
        return None
    parts = rest.split(b" ", 3)
    if len(parts) < 4 or parts[0] not in _STATES:
        return None
    letter, key, cost, payload = parts
    return Stored(
        _STATES[letter],
        bytes.fromhex(key.decode()),
        None if cost == _NO_COST else float(cost),
        payload,
    )


def scan(lines: Iterable[bytes]) -> Iterator[Header | Line]:
    """Yield what the lines of a segment are, without their results; damaged ones are passed over.

    Nothing is yielded of a segment without a header that can be read, since it does not say whose
    answers it has.
    """
    offset = 0
    headed = False
    for line in lines:
        rest = _opened(line)
        if not headed:
            header = None if rest is None else _read_header(rest)
            if header is None:
                return
            headed = True
            yield header
        elif rest is not None and rest[:1] in _STATES:
            key = rest[2 : 2 + 2 * _KEY_BYTES]
            yield Line(offset, _STATES[rest[:1]], bytes.fromhex(key.decode()))
        offset += len(line)


def _read_header(rest: bytes) -> Header | None:
    if not rest.startswith(b"H "):
        return None
    fields = json.loads(rest[2:])
    if fields["format"] != _FORMAT:
        return None
    return Header(fields["strategy"], fields["run"], fields["block"], fields["attempt"])


def _sealed(rest: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(rest), rest)


def _opened(line: bytes) -> bytes | None:
    """Return the rest of a line, ``None`` if the line is not whole."""
    rest = line[_SUM:-1]
    if line[-1:] != b"\n" or line[: _SUM - 1] != b"%08x" % zlib.crc32(rest):
        return None
    return rest
