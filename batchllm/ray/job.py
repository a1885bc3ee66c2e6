"""The settings that each worker of a run gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from batchllm.policy import Limit
from batchllm.ray.folder import JournalFolder
from batchllm.ray.output_types import Shape

__all__ = ["Job"]


@frozen(kw_only=True)
class Job:
    """The settings of one run over a dataset.

    Attributes:
        folder: The journal.
        run: The number of the run.
        version: Of batchllm, on the machine of the driver.
        strategy: How to ask; its keys stay behind and are read again where it arrives.
        digest: Of the strategy's identity, in hexadecimal digits.
        shape: Of the outputs.
        id_column: The column that names each row.
        prompt_column: The column that is sent.
        limits: The quota of all workers together.
        options: For ``stream_batch``.
    """

    folder: JournalFolder
    run: int
    version: str
    strategy: Any = field(repr=False)
    digest: str
    shape: Shape | None
    id_column: str
    prompt_column: str
    limits: tuple[Limit, ...]
    options: Mapping[str, Any] = field(repr=False)
