"""The settings of a journal, as its user gives them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
from attrs import field, frozen

from batchllm.core import ConfigError, kind_of
from batchllm.journal.worker import OpenWorker, open_thread_worker

__all__ = ["Durability", "Journal", "OnChanged", "OnResume", "read_journal"]

Durability: TypeAlias = Literal["full", "normal"]
OnChanged: TypeAlias = Literal["refuse", "rerun", "keep"]
OnResume: TypeAlias = Literal["replay", "skip"]


def _read_path(value: object) -> Path:
    if isinstance(value, str | os.PathLike) and str(value):
        return Path(value)
    msg = f"Journal.path is {value!r}, {kind_of(value)}; give the path of a file"
    raise ConfigError(msg)


def _one_of(*words: str) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in words:
            given = " or ".join(repr(word) for word in words)
            msg = f"Journal.{attribute.name} is {value!r}; give {given}"
            raise ConfigError(msg)

    return check


def _flag(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        msg = f"Journal.{attribute.name} is {value!r}, {kind_of(value)}; give True or False"
        raise ConfigError(msg)


@frozen
class Journal:
    """The file in which a batch writes down what is finished, and how it goes on from there.

    Example:
        >>> Journal("run.db", on_resume="skip").path.name
        'run.db'

    Args:
        path: The file. It is made with mode 0600 if it is not there.
        on_resume: What becomes of items that an earlier run finished: ``"replay"`` delivers their
            results again, marked ``replayed`` and left out of this run's sums; ``"skip"`` counts
            them only.
        retry_failed: Whether items that failed run again.
        on_changed: What to do if an answer was given under another strategy (another model, another
            temperature): ``"refuse"`` with the difference and the cost, ``"rerun"``, or
            ``"keep"`` it.
        durability: ``"full"`` flushes each commit to the disk, so that it survives a loss of
            power; ``"normal"`` may lose the last commits then. Neither loses anything if only the
            process dies.
        journal_prompts: Whether prompts and contexts are kept. If not, only keyed digests are.
        output_type: The class of the outputs, where it cannot be found by its name.
        worker: Keeps the thread that writes; tests in virtual time give ``open_inline_worker``.

    Raises:
        ConfigError: An argument is wrong; it is named, with what to give.
    """

    path: Path = field(converter=_read_path)
    on_resume: OnResume = field(default="replay", kw_only=True, validator=_one_of("replay", "skip"))
    retry_failed: bool = field(default=False, kw_only=True, validator=_flag)
    on_changed: OnChanged = field(
        default="refuse", kw_only=True, validator=_one_of("refuse", "rerun", "keep")
    )
    durability: Durability = field(
        default="full", kw_only=True, validator=_one_of("full", "normal")
    )
    journal_prompts: bool = field(default=True, kw_only=True, validator=_flag)
    output_type: Any = field(default=None, kw_only=True)
    worker: OpenWorker = field(default=open_thread_worker, kw_only=True, repr=False)


def read_journal(value: object) -> Journal | None:
    """Read the ``journal`` argument of an entry point.

    Args:
        value: A path, a ``Journal``, or ``None`` for no journal.

    Raises:
        ConfigError: It is something else.
    """
    if value is None or isinstance(value, Journal):
        return value
    if isinstance(value, str | os.PathLike):
        return Journal(value)
    msg = f"journal is {kind_of(value)}; give a path, or a Journal(path, …)"
    raise ConfigError(msg)
