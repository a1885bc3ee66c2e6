"""One block on its worker: its rows as items, results of earlier runs, and its rows at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import anyio
from attrs import define, evolve, field

from batchllm.core import Category, InvalidItemError, Tally, WorkItemResult
from batchllm.journal import State, encode_result, replay_result, state_of
from batchllm.ray.columns import with_results
from batchllm.ray.finished import Finished
from batchllm.ray.libraries import load_parquet
from batchllm.ray.output_types import Shape
from batchllm.ray.reader import BlockPlan, present
from batchllm.ray.segments import Stored, read_line, scan

__all__ = ["Block", "is_final", "stored"]

Result = WorkItemResult[Any, Any]

_NOT_FINAL = frozenset({Category.CANCELLED, Category.PARKED, Category.STOPPED})
"""Results that say that an item was not tried to its end: it runs again."""
_UNASKED = frozenset({Category.INVALID_ITEM, Category.SKIPPED})
"""Results that cost nothing and are found anew by each run, so that they are not written down."""


@define(eq=False)
class Block:
    """The rows of a block, and what becomes of them.

    Args:
        number: Of the block in its run.
        attempt: The attempt at it, from 1.
        table: Its rows, a table of Arrow.
        plan: What is known of them.
        id_column: The column that names each row.
        prompt_column: The column that is sent.
        first: The number of its first row, for results.

    Attributes:
        read: Set once the engine has taken all rows that are to be asked about.
        ended: Set once its rows are written, or will never be.
        tally: Sums over its results, once its rows are written.
    """

    number: int
    attempt: int
    table: Any
    plan: BlockPlan
    id_column: str
    prompt_column: str
    read: anyio.Event = field(factory=anyio.Event, init=False)
    ended: anyio.Event = field(factory=anyio.Event, init=False)
    tally: Tally | None = field(default=None, init=False)
    _results: list[Result | None] = field(init=False)
    _left: int = field(init=False)
    _ids: list[str] = field(factory=list, init=False)
    _prompts: list[Any] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._left = len(self.plan.rows)
        self._results = [None] * self._left

    @property
    def complete(self) -> bool:
        """Return whether each row has its result."""
        return not self._left

    def key_of(self, index: int) -> bytes:
        """Return the digest by which a row is found again."""
        return self.plan.rows[index].key

    def set(self, index: int, result: Result) -> None:
        """Give a row its result, which is written down already if it has to be."""
        if self._results[index] is None:
            self._results[index] = evolve(result, context=None)
            self._left -= 1

    def prepare(self, earlier: Iterable[Path]) -> None:
        """Read the rows, and take over the results that are there. It waits for the disk.

        Args:
            earlier: The segments of earlier attempts at this block.

        Raises:
            OSError: A segment cannot be read.
        """
        ids = self.table[self.id_column].to_pylist()
        self._prompts = [present(one) for one in self.table[self.prompt_column].to_pylist()]
        before = _EarlierAttempts.read(earlier)
        for index, (item_id, row) in enumerate(zip(ids, self.plan.rows, strict=True)):
            if item_id is None:
                self.set(index, _refused("", f"its id, the column {self.id_column!r}, is missing"))
            elif row.doubled:
                problem = f"its id {str(item_id)!r} came before; ids must be unique"
                self.set(index, _refused(str(item_id), problem))
            else:
                if (found := before.find(row.key)) is not None:  # paid for by this run
                    self.set(index, evolve(_replayed(found), replayed=False))
                elif (found := _first_of(row.places, row.key)) is not None:
                    self.set(index, _replayed(found))
        self._ids = [str(item_id) for item_id in ids]

    def items(self) -> Iterator[tuple[str, Any, tuple[Block, int]]]:
        """Yield the rows that have no result as items, whose context leads back to them."""
        prompts, self._prompts = self._prompts or [], None
        for index, prompt in enumerate(prompts):
            if self._results[index] is None:
                yield self._ids[index], prompt, (self, index)

    def write_rows(self, file: Path, shape: Shape | None) -> None:
        """Write its rows with their results, all at once. It waits for the disk.

        Raises:
            OSError: The file cannot be written.
        """
        results = [result for result in self._results if result is not None]
        rows = with_results(self.table, results, shape)
        # Attempts write the same rows under names of their own; the last one to be renamed stays.
        beside = file.with_name(f".{file.name}.{self.attempt}.part")
        load_parquet().write_table(rows, beside)
        beside.replace(file)
        self.tally = Tally.of(results)
        self.table, self._results = None, []


@define(eq=False)
class _EarlierAttempts:
    """The results that earlier attempts at a block have written down."""

    files: list[Path]
    index: Finished

    @classmethod
    def read(cls, files: Iterable[Path]) -> _EarlierAttempts:
        found = cls([], Finished())
        for file in files:
            if file.exists():
                with file.open("rb") as lines:
                    found.index.add(scan(lines))
                found.files.append(file)
        return found

    def find(self, key: bytes) -> Stored | None:
        places = self.index.find(key)
        return _first_of([(str(self.files[at.segment]), at.offset) for at in places], key)


def _first_of(places: Iterable[tuple[str, int]], key: bytes) -> Stored | None:
    """Read the first result that is this row's, and whole."""
    for name, offset in places:
        with Path(name).open("rb") as segment:
            segment.seek(offset)
            found = read_line(segment.readline())
        if found is not None and found.key == key:
            return found
    return None


def is_final(result: Result) -> bool:
    """Return whether a result is the last word about its row."""
    return result.success or result.error_category not in _NOT_FINAL


def stored(result: Result, key: bytes) -> Stored | None:
    """Return what a segment keeps of a result; ``None`` if that is nothing.

    Raises:
        JournalError: Its output has no form in JSON.
    """
    if not result.success and result.error_category in _UNASKED:
        return None
    payload = encode_result(evolve(result, context=None), keep_inputs=False)
    return Stored(state_of(result), key, result.cost, payload)


def _replayed(found: Stored) -> Result:
    done = found.state is State.DONE
    result, _ = replay_result(found.payload, success=done, cost=found.cost, position=0, plain=True)
    return result


def _refused(item_id: str, problem: str) -> Result:
    error = InvalidItemError(problem)
    return WorkItemResult(
        item_id, False, error=problem, error_category=Category.INVALID_ITEM, exception=error
    )
