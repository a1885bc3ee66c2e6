"""The actors of one run, on the nodes of a cluster; the one file that starts and ends them.

Ray retries nothing of ours: what it would repeat would be paid for again.
"""

from __future__ import annotations

import pickle
import platform
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final, Self, cast

from attrs import define, evolve, field

from batchllm.core import ConfigError, JournalError
from batchllm.journal import OnChanged
from batchllm.ray.authority import NAMESPACE, RayLeases, start_authority
from batchllm.ray.job import Job
from batchllm.ray.libraries import load_ray
from batchllm.ray.reader import BlockPlan, DatasetReader, open_finished
from batchllm.ray.worker import Worker

__all__ = ["Actors"]

_NEVER: Final[Mapping[str, Any]] = {"max_restarts": 0, "max_task_retries": 0}
_NAME_BYTES: Final = 8


class _WorkerActor(Worker):
    """A worker that asks an authority of Ray.

    What the user gave comes as bytes: a key that this node lacks is then an answer of ``ready``,
    where an actor whose arguments cannot be read just dies.
    """

    def __init__(self, job: Job, given: bytes, name: str, authority: Any) -> None:
        super().__init__(job, RayLeases.of_actor(authority, name))
        self._given = given

    async def ready(self) -> str:
        """Return what keeps this machine from working on the run; empty if nothing does."""
        try:
            strategy, options = pickle.loads(self._given)
        except Exception as error:  # whatever the user's classes raise
            return f"on {platform.node()}: what was given cannot be read: {error}"
        self.job = evolve(self.job, strategy=strategy, options=options)
        return await super().ready()


class _ReaderActor:
    """Reads the dataset; see ``DatasetReader``."""

    def __init__(self, dataset: Any, block_rows: int, job: Job) -> None:
        self._dataset, self._block_rows, self._job = dataset, block_rows, job
        self._reader: DatasetReader | None = None

    def open(self, identity: str, retry_failed: bool, on_changed: OnChanged) -> int:
        """Read what earlier runs finished; return how many answers that are."""
        job = self._job
        finished, files = open_finished(
            job.folder,
            job.run,
            job.digest,
            identity,
            retry_failed=retry_failed,
            on_changed=on_changed,
        )
        self._reader = DatasetReader(
            self._tables(), job.id_column, job.prompt_column, job.folder.salt, finished, files
        )
        return finished.answers

    def _tables(self) -> Iterator[Any]:
        self._dataset.context.enable_progress_bars = False
        batches = self._dataset.iter_batches(batch_size=self._block_rows, batch_format="pyarrow")
        return iter(batches)

    def next(self) -> tuple[BlockPlan, Any] | None:
        """Return the plan of the next block and where its rows are; ``None`` behind the last."""
        assert self._reader is not None
        found = self._reader.next()
        # In Ray's store, so that the rows never come to the driver.
        return None if found is None else (found[0], load_ray().put(found[1]))


@define(eq=False, kw_only=True)
class Actors:
    """Starts the actors of one run, and ends them when its block is left.

    Args:
        job: The settings of the run.
        dataset: Its input.
        block_rows: Rows of a block.
        workers: How many; ``None`` for one per node.
        share: The name of an authority for several jobs; ``None`` for one of its own.
        options: Of Ray, for the workers.
    """

    job: Job
    dataset: Any
    block_rows: int
    workers: int | None
    share: str | None
    options: Mapping[str, Any]
    reader: Any = field(default=None, init=False)
    _authority: Any = field(default=None, init=False)
    _living: dict[str, Any] = field(factory=dict, init=False)
    _nodes: list[str] = field(factory=list, init=False)
    _started: int = field(default=0, init=False)
    _packed: bytes = field(default=b"", init=False)

    def __enter__(self) -> Self:
        ray = load_ray()
        self._packed = self._pack(ray)
        here = self._on_node(ray.get_runtime_context().get_node_id())
        try:
            self._start_reader(ray, here)
            own = f"{self._name()} authority"
            self._authority = start_authority(
                self.share or own,
                shared=self.share is not None,
                # What earlier runs have sent may not have arrived yet.
                lost=self.share is None and self.job.run > 1,
                options={} if self.share else here,
            )
            ray.get(self._authority.ready.remote())
        except BaseException:
            self.__exit__()
            raise
        self._nodes = _nodes_of(ray)
        return self

    def __exit__(self, *_: object) -> None:
        ray = load_ray()
        own = [] if self.share else [self._authority]
        for actor in (*self._living.values(), self.reader, *own):
            if actor is not None:
                ray.kill(actor, no_restart=True)
        self._living.clear()

    def _start_reader(self, ray: Any, here: dict[str, Any]) -> None:
        name = f"{self._name()} reader"
        actor = ray.remote(_ReaderActor).options(
            name=name, namespace=NAMESPACE, num_cpus=0, **_NEVER, **here
        )
        try:
            self.reader = actor.remote(self.dataset, self.block_rows, self._bare())
        except ValueError as error:  # Ray's, if the name is taken
            path = str(self.job.folder.path)
            msg = (
                f"another run on this cluster writes the journal {path}; wait for its end, or give "
                f"another folder ({error})"
            )
            raise JournalError(msg, problem="in_use", path=path) from error

    def _name(self) -> str:
        path = str(self.job.folder.path).encode()
        return f"run on {blake2b(path, digest_size=_NAME_BYTES).hexdigest()}"

    @property
    def seats(self) -> int:
        """Return how many workers there are to be."""
        return self.workers or len(self._nodes)

    def start_worker(self) -> tuple[str, Any]:
        """Start one more worker, on the next node; return its name, which no other has."""
        ray = load_ray()
        node = self._nodes[self._started % len(self._nodes)]
        self._started += 1
        name = f"{self.job.run:04d}-w{self._started}"
        # None of a CPU is reserved: a worker waits most of the time, and reserved ones could leave
        # none for the reading of the dataset.
        options = {"num_cpus": 0, **self._on_node(node), **self.options, **_NEVER}
        worker = ray.remote(_WorkerActor).options(**options)
        self._living[name] = worker.remote(self._bare(), self._packed, name, self._authority)
        return name, self._living[name]

    def _bare(self) -> Job:
        """Return the job without what the user gave, which goes to workers only."""
        return evolve(self.job, strategy=None, options={})

    def _pack(self, ray: Any) -> bytes:
        try:
            given = (self.job.strategy, dict(self.job.options))
            return cast("bytes", ray.cloudpickle.dumps(given))
        except (TypeError, pickle.PicklingError) as error:
            msg = f"the strategy or a setting cannot be sent to another process: {error}"
            raise ConfigError(msg) from error

    def retire(self, name: str) -> None:
        """Take a worker for dead: it gets no more leases if it lives."""
        ray = load_ray()
        worker = self._living.pop(name, None)
        self._authority.retire.remote(name)
        if worker is not None:
            ray.kill(worker, no_restart=True)

    @staticmethod
    def _on_node(node: str) -> dict[str, Any]:
        ray = load_ray()
        strategies = ray.util.scheduling_strategies
        there = strategies.NodeAffinitySchedulingStrategy(node_id=node, soft=True)
        return {"scheduling_strategy": there}


def _nodes_of(ray: Any) -> list[str]:
    """Return the nodes that may work, those with CPUs if there are any."""
    living = [node for node in ray.nodes() if node["Alive"]]
    working = [node for node in living if node["Resources"].get("CPU", 0) > 0]
    return [node["NodeID"] for node in working or living]
