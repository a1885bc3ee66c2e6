"""A run over tables without Ray: a job, a reader, and workers in this process."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio
from attrs import define, evolve, field

import batchllm
from batchllm.journal import Identity
from batchllm.llm_strategies import as_strategy
from batchllm.policy import Limit
from batchllm.ray.folder import read_folder
from batchllm.ray.job import Job
from batchllm.ray.output_types import output_type_of, shape_of
from batchllm.ray.reader import BlockPlan, DatasetReader, open_finished
from batchllm.ray.worker import Ended, Worker
from batchllm.shared import MemoryLeases


def make_job(path: Path, strategy: Any, *, output: Any = None, **options: Any) -> Job:
    """Begin the next run of the journal at *path*."""
    asked = as_strategy(strategy)
    folder = read_folder(path, make=True)
    kind = output_type_of(asked, output)
    identity = Identity.of(asked)
    folder.strategy(identity.digest.hex()).write_text(identity.text)
    return Job(
        folder=folder,
        run=folder.new_run(),
        version=batchllm.__version__,
        strategy=asked,
        digest=identity.digest.hex(),
        shape=None if kind is None else shape_of(kind),
        id_column="id",
        prompt_column="prompt",
        limits=(Limit("requests", 600),),
        options=options,
    )


def plans_of(job: Job, tables: Iterable[Any], **reading: Any) -> list[tuple[BlockPlan, Any]]:
    """Read all blocks, as the reader of a run does."""
    settings = {"retry_failed": False, "on_changed": "refuse", **reading}
    identity = Identity.of(job.strategy).text
    finished, files = open_finished(job.folder, job.run, job.digest, identity, **settings)
    reader = DatasetReader(iter(tables), "id", "prompt", job.folder.salt, finished, files)
    found = list[tuple[BlockPlan, Any]]()
    while (one := reader.next()) is not None:
        found.append(one)
    return found


def in_memory() -> MemoryLeases:
    """Return leases by the clock of the event loop."""
    return MemoryLeases(clock=anyio.current_time)


@define(eq=False)
class Asked:
    """A strategy that writes down what it was asked, and takes a second."""

    seconds: float = 1.0
    fails: tuple[str, ...] = ()
    prompts: list[Any] = field(factory=list)

    def strategy(self) -> Any:
        """Return it under a name that another run knows again."""
        return batchllm.from_callable(self, version="1")

    async def __call__(self, prompt: Any) -> str:
        self.prompts.append(prompt)
        await anyio.sleep(self.seconds)
        if prompt in self.fails:
            raise ValueError("no answer")
        return f"{prompt}!"


async def work(
    job: Job, blocks: Iterable[tuple[BlockPlan, Any]], *, attempt: int = 1, first: int = 0
) -> Ended:
    """Have one worker do all blocks, and end it."""
    worker = Worker(job, in_memory())
    assert await worker.ready() == ""
    ends = list[Ended]()

    async def run() -> None:
        ends.append(await worker.run())

    async def do(number: int, plan: BlockPlan, table: Any) -> None:
        assert await worker.take(number, attempt, plan, table)
        tally = await worker.finish(number, attempt)
        assert tally is not None
        assert tally.total == table.num_rows

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        async with anyio.create_task_group() as inner:
            for number, (plan, table) in enumerate(blocks, first):
                inner.start_soon(do, number, plan, table)
        await worker.close()
    return ends[0]


def rows_of(job: Job) -> list[dict[str, Any]]:
    """Read all rows that a run has written."""
    from pyarrow import parquet

    files = sorted(job.folder.rows(job.run, 0).parent.glob("*.parquet"))
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


def next_run(job: Job) -> Job:
    """Return the same job as the next run of its journal."""
    return evolve(job, run=job.folder.new_run())
