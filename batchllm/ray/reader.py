"""Reads the dataset: block after block, with what earlier runs know of each row.

It is an actor of its own, so that the rows never pass through the driver, and so that the driver
goes on while a block is waited for. No more is read than workers ask for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from batchllm.core import ConfigError, JournalError, counted
from batchllm.engine import IdSet
from batchllm.journal import OnChanged, differences, digest_of
from batchllm.ray.finished import Finished
from batchllm.ray.folder import JournalFolder
from batchllm.ray.segments import Header, scan

__all__ = ["BlockPlan", "DatasetReader", "RowPlan", "keys_of", "open_finished", "present"]


@frozen
class RowPlan:
    """The state of a row before it is asked about.

    Attributes:
        key: The digest of its id and prompt.
        places: The files that may have its result, the one that counts first, with the bytes
            before it.
        doubled: Whether its id came before.
    """

    key: bytes
    places: tuple[tuple[str, int], ...] = ()
    doubled: bool = False


@frozen
class BlockPlan:
    """The state of the rows of a block.

    Attributes:
        rows: One for each row, in their order.
    """

    rows: tuple[RowPlan, ...]


def present(prompt: Any) -> Any:
    """Return a prompt without the fields that only other rows of its column have."""
    if isinstance(prompt, list):
        return [present(part) for part in prompt]
    if isinstance(prompt, dict):
        return {name: present(part) for name, part in prompt.items() if part is not None}
    return prompt


def keys_of(ids: Sequence[Any], prompts: Sequence[Any], salt: bytes) -> list[bytes]:
    """Return the digests by which rows are found again: of the id and the prompt."""
    return [
        _key_of(str(item_id), present(prompt), salt)
        for item_id, prompt in zip(ids, prompts, strict=True)
    ]


def _key_of(item_id: str, prompt: Any, salt: bytes) -> bytes:
    key = digest_of([item_id, prompt], salt)
    if key is None:  # the prompt has no canonical form: the id alone has to do
        key = digest_of([item_id], salt)
    assert key is not None
    return key


def open_finished(
    folder: JournalFolder,
    run: int,
    strategy: str,
    identity: str,
    *,
    retry_failed: bool,
    on_changed: OnChanged,
) -> tuple[Finished, list[Path]]:
    """Read what earlier runs finished.

    Args:
        folder: The journal.
        run: The number of the run that begins.
        strategy: The digest of its strategy.
        identity: The strategy's canonical identity.
        retry_failed: Whether items that failed run again.
        on_changed: What to do with answers of another strategy.

    Returns:
        The index, and its segments in their order.

    Raises:
        JournalError: There are answers of another strategy only, and *on_changed* refuses that.
        OSError: A segment cannot be read.
    """
    finished, others = Finished(retry_failed), Finished()
    known = folder.strategies()
    other = ""
    files = list[Path]()
    for file in folder.earlier_segments(run):
        with file.open("rb") as lines:
            parts = scan(lines)
            header = next(parts, None)
            if not isinstance(header, Header):
                continue
            if header.strategy == strategy or on_changed == "keep":
                finished.add(parts)
                files.append(file)
            elif strategy not in known and on_changed == "refuse":
                others.add(parts)
                other = header.strategy
    if others.answers:
        msg = (
            f"the journal {folder.path} has answers of another strategy: "
            f"{differences(known.get(other, '{}'), identity)}: "
            f"{counted(others.answers, 'finished item')} would run again; give "
            'on_changed="rerun" to ask again, on_changed="keep" to take the answers as they are, '
            "or another folder to start anew"
        )
        raise JournalError(msg, problem="changed", path=str(folder.path))
    return finished, files


@define(eq=False)
class DatasetReader:
    """Yields the blocks of a dataset with their plans.

    Args:
        tables: The dataset's rows as tables of Arrow.
        id_column: The column that names each row.
        prompt_column: The column that is sent.
        salt: The key of the journal's digests.
        finished: What earlier runs finished.
        files: The segments of that index.
    """

    tables: Iterator[Any]
    id_column: str
    prompt_column: str
    salt: bytes = field(repr=False)
    finished: Finished
    files: Sequence[Path]
    _ids: IdSet = field(factory=IdSet, init=False)

    def next(self) -> tuple[BlockPlan, Any] | None:
        """Return the next block; ``None`` behind the last.

        Raises:
            ConfigError: A column is not there.
            Exception: The dataset's own.
        """
        for table in self.tables:
            if table.num_rows:
                return self._plan(table), table
        return None

    def _plan(self, table: Any) -> BlockPlan:
        for name, argument in ((self.id_column, "id"), (self.prompt_column, "prompt")):
            if name not in table.column_names:
                msg = (
                    f"{argument} is {name!r}, and the dataset has no such column (its columns: "
                    f"{', '.join(table.column_names)}); give {argument}= the one that "
                    + ("names each row" if argument == "id" else "is to be sent")
                )
                raise ConfigError(msg)
        ids = table[self.id_column].to_pylist()
        keys = keys_of(ids, table[self.prompt_column].to_pylist(), self.salt)
        return BlockPlan(tuple(map(self._row, ids, keys)))

    def _row(self, item_id: Any, key: bytes) -> RowPlan:
        # A row without an id is refused for that by its worker.
        if item_id is not None and not self._ids.add(str(item_id)):
            return RowPlan(key, doubled=True)
        found = self.finished.find(key)
        return RowPlan(key, tuple((str(self.files[at.segment]), at.offset) for at in found))
