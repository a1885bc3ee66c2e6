"""A run of batch mode against a simulator that outlives it, in virtual time."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx
from attrs import define, field

from batchllm.api import run_batch
from batchllm.core import BatchResult, LLMCallStrategy
from batchllm.journal import Journal
from batchllm.llm_strategies import llm
from batchllm.provider_batch import Chunk, State, read_chunks
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.simulator import (
    BatchBehaviour,
    Batches,
    Mishap,
    Scenario,
    Simulator,
    SimulatorTransport,
)
from batchllm.testing import open_inline_worker

MODELS = ["openai:gpt-5-mini", "anthropic:claude-sonnet-5", "gemini:gemini-2.5-flash"]
"""One of each wire."""


class Killed(BaseException):
    """Stands for the end of a process: nothing after it has happened."""


@define(eq=False)
class Fuse:
    """Counts points of a run, and ends it at one of them with an image of what is on the disk.

    Args:
        folder: Of the journal.
        image: Where the image goes.
        at: Which point ends it, from 1; 0 ends it at none.
        only: The beginning of the names of the points that are counted.
    """

    folder: Path
    image: Path
    at: int = 0
    only: str = ""
    passed: int = field(default=0, init=False)
    last: str = field(default="", init=False)

    def passes(self, what: str) -> None:
        if self.at and self.passed >= self.at:
            raise Killed(what)  # it has ended, and whatever tries to go on is not there
        if not what.startswith(self.only):
            return
        self.passed += 1
        if self.passed == self.at:
            self.last = what
            if self.image.exists():
                shutil.rmtree(self.image)
            shutil.copytree(self.folder, self.image)
            for database in self.image.glob("*.db"):
                with closing(sqlite3.connect(database)) as db:
                    db.execute("DELETE FROM driver")
                    db.commit()
            raise Killed(what)


class Wire(httpx.AsyncBaseTransport):
    """The simulator behind a fuse: a process may end before a request, or before its answer."""

    def __init__(self, simulator: Simulator, fuse: Fuse | None, sent: list[bytes]) -> None:
        self.inner = SimulatorTransport(simulator)
        self.fuse = fuse
        self.sent = sent

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = f"{request.method} {request.url.path}"
        if self.fuse is not None:
            self.fuse.passes(f"before {name}")
        self.sent.append(await request.aread())
        response = await self.inner.handle_async_request(request)
        if self.fuse is not None:
            self.fuse.passes(f"after {name}")
        return response


@define(eq=False)
class World:
    """A provider, and the folder of one user.

    Args:
        folder: For the journal.
        behaviour: Of the provider's batches.
        scenario: Of the provider.
        model: To ask.

    Attributes:
        sent: The bodies of all requests to the provider, uploads among them.
    """

    folder: Path
    behaviour: BatchBehaviour = field(factory=BatchBehaviour)
    scenario: Scenario = field(factory=Scenario)
    model: str = "openai:gpt-5-mini"
    simulator: Simulator = field(init=False)
    sent: list[bytes] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.simulator = Simulator(self.scenario, batch_behaviour=self.behaviour)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def batches(self) -> Batches:
        return self.simulator.batches

    @property
    def start(self) -> float:
        """Seconds since 1970 at which the simulator's own clock begins."""
        return 1_767_225_600.0

    @property
    def now(self) -> float:
        return self.start

    def account(self, key: str) -> str:
        """The account of a key, as the simulator names it."""
        from batchllm.simulator.batches.store import short

        return f"org-{short(key)}"

    def goes_wrong(self, *mishaps: Mishap) -> None:
        self.batches.mishaps.extend(mishaps)

    def behaves(self, **changes: Any) -> None:
        """Change how batches go that are created from here on."""
        from attrs import evolve

        self.batches.behaviour = evolve(self.batches.behaviour, **changes)

    def strategy(self, *, key: str = "key-1", fuse: Fuse | None = None, **more: Any) -> Any:
        wire = Wire(self.simulator, fuse, self.sent)
        return llm(self.model, api_key=key, http=wire, **more)

    def strategy_http(self) -> Wire:
        return Wire(self.simulator, None, self.sent)

    def journal(self, folder: Path | None = None, **more: Any) -> Journal:
        path = (folder or self.folder) / "run.db"
        # Flushes are for the loss of power, which no test here has.
        return Journal(path, worker=open_inline_worker, durability="normal", **more)

    async def run(
        self,
        items: Any,
        strategy: LLMCallStrategy[Any] | None = None,
        *,
        journal: Journal | None = None,
        **options: Any,
    ) -> BatchResult[Any, Any]:
        return await run_batch(
            items,
            strategy or self.strategy(),
            mode="batch",
            journal=journal or self.journal(),
            **options,
        )

    async def run_beside(
        self, other: Callable[[], Any], items: Any, **options: Any
    ) -> BatchResult[Any, Any]:
        """A run during which something else happens."""
        results: list[BatchResult[Any, Any]] = []
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            results.append(await self.run(items, **options))
        return results[0]

    def chunks(self, folder: Path | None = None) -> list[Chunk]:
        path = (folder or self.folder) / "run.db"
        with closing(sqlite3.connect(path)) as db:
            return read_chunks(db)

    def states(self) -> list[State]:
        return [chunk.state for chunk in self.chunks()]

    @property
    def billed(self) -> list[str]:
        """The ids of the requests that were executed and billed, one for each time."""
        return [line.custom_id for line in self.batches.invoice]


def prompts(count: int, mark: str = "") -> list[str]:
    return [f"prompt {number}{mark}" for number in range(count)]


def outputs(result: BatchResult[Any, Any]) -> dict[str, Any]:
    """The answers by item, with what failed as its category."""
    return {
        one.item_id: one.output if one.success else one.error_category for one in result.results
    }


def marked(count: int, marks: dict[int, str]) -> list[str]:
    """Prompts, some of which ask for something to go wrong in a batch."""
    return [
        f"prompt {number}" + (f" [[batch:{marks[number]}]]" if number in marks else "")
        for number in range(count)
    ]


def lay_fuse(monkeypatch: Any, fuse: Fuse) -> None:
    """Let transactions of the ledger be points of *fuse*, before and behind each."""
    transact = BatchLedger._transact

    def with_fuse(self: BatchLedger, work: Callable[[Any], Any]) -> Any:
        fuse.passes("before a transaction")
        value = transact(self, work)
        fuse.passes("after a transaction")
        return value

    monkeypatch.setattr(BatchLedger, "_transact", with_fuse)


async def killed(run: Callable[[], Any]) -> bool:
    """Run until a fuse ends it; return whether one did."""
    try:
        await run()
    except Killed:
        return True
    except BaseExceptionGroup as group:
        if group.split(Killed)[0] is None:
            raise
        return True
    return False


def count_calls(batches: Batches, names: Sequence[str] | Iterable[str]) -> int:
    return sum(batches.calls.get(name, 0) for name in names)


async def later(seconds: float) -> None:
    await anyio.sleep(seconds)
