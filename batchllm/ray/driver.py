"""The driver of a run: gives blocks to workers, and their blocks to others if they die.

It waits for all that it has asked of the actors at once, and does what each answer asks for. What
is to be done next is the book's decision.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from attrs import define, field

from batchllm.core import BatchError, ConfigError, Tally, message_of
from batchllm.journal import OnChanged
from batchllm.ray.actors import Actors
from batchllm.ray.attempts import MOST_ATTEMPTS, Assignment, AttemptBook
from batchllm.ray.folder import write_whole
from batchllm.ray.libraries import load_ray
from batchllm.ray.reader import BlockPlan
from batchllm.ray.summary import RunSummary
from batchllm.ray.worker import Ended

__all__ = ["Driver"]

_TURN: Final = 1.0
"""Seconds of one wait, so that Ctrl-C is seen."""
_STOP: Final = 15.0
"""Seconds for workers to write what is answered when a run ends before its time."""
_MOST_DEATHS: Final = 3
"""Workers per seat that may die before any block is finished: what ends them is no accident."""

_MOST_WORDS: Final = 2_000
"""Characters of an error in a summary; Ray's have the frames of every process that they came by."""

OnAnswer = Callable[[Any], None]


@define(eq=False, kw_only=True)
class Driver:
    """Runs one job to its end.

    Args:
        actors: Of the run.
        identity: The canonical identity of its strategy.
        retry_failed: Whether items that failed run again.
        on_changed: What to do with answers of another strategy.
        progress: Called with the sums so far whenever a block is finished.
    """

    actors: Actors
    identity: str
    retry_failed: bool
    on_changed: OnChanged
    progress: Callable[[RunSummary], object] | None
    book: AttemptBook = field(factory=AttemptBook, init=False)
    _ray: Any = field(init=False, factory=load_ray)
    _asked: dict[Any, tuple[str, OnAnswer]] = field(factory=dict, init=False)
    """The worker that was asked, "" for the reader, and the method that takes its answer."""
    _workers: dict[str, Any] = field(factory=dict, init=False)
    _tally: Tally = field(factory=Tally, init=False)
    _blocks: int = field(default=0, init=False)
    _lost: int = field(default=0, init=False)
    _deaths: int = field(default=0, init=False)
    _reading: bool = field(default=False, init=False)
    _read_all: bool = field(default=False, init=False)
    _begun: float = field(factory=time.monotonic, init=False)
    _leases: int = field(default=0, init=False)
    _calls: int = field(default=0, init=False)

    def run(self) -> int:
        """Work on the whole dataset; return how many blocks it had.

        Raises:
            BatchError: The run ended before its time.
            Exception: The dataset's own.
        """
        ended: str | None = "it was interrupted"
        try:
            self._open_journal()
            for _ in range(self.actors.seats):
                self._start_worker()
            while not (self._read_all and not self.book.open):
                self._ask_for_blocks()
                self._take_answers()
            self._close_workers()
            ended = None
        except BaseException as error:
            ended = message_of(error)[:_MOST_WORDS] or ended
            self._stop_workers()
            raise
        finally:
            summary = self.summary(complete=ended is None, ended=ended)
            with suppress(OSError):  # the run is over, and its error says more
                job = self.actors.job
                write_whole(job.folder.summary(job.run), summary.to_json().encode())
        self._report(summary)
        return self._blocks

    def summary(self, **others: Any) -> RunSummary:
        """Return the sums so far."""
        return RunSummary.of(
            self._tally,
            run=self.actors.job.run,
            seconds=round(time.monotonic() - self._begun, 3),
            workers_lost=self._lost,
            blocks=self._blocks,
            again=self.book.again,
            leases=self._leases,
            calls=self._calls,
            **others,
        )

    def _open_journal(self) -> None:
        job = self.actors.job
        opened = self.actors.reader.open.remote(self.identity, self.retry_failed, self.on_changed)
        self._get(opened)
        file = job.folder.strategy(job.digest)
        if not file.exists():
            write_whole(file, self.identity.encode())

    # -- what is asked -----------------------------------------------------------------------

    def _ask(self, worker: str, reference: Any, on_answer: OnAnswer) -> None:
        self._asked[reference] = worker, on_answer

    def _ask_for_blocks(self) -> None:
        while (one := self.book.assign()) is not None:
            plan, table = one.data
            taken = self._workers[one.worker].take.remote(one.block, one.attempt, plan, table)
            self._ask(one.worker, taken, partial(self._on_read, one))
        # One block waits here, so that a worker which wants one gets it at once.
        if not self._reading and not self._read_all and not self.book.waiting:
            self._reading = True
            self._ask("", self.actors.reader.next.remote(), self._on_block)

    def _start_worker(self) -> None:
        name, actor = self.actors.start_worker()
        self._ask(name, actor.ready.remote(), partial(self._on_ready, name, actor))

    # -- what is answered --------------------------------------------------------------------

    def _take_answers(self) -> None:
        ready, _ = self._ray.wait(list(self._asked), num_returns=1, timeout=_TURN)
        for reference in ready:
            worker, on_answer = self._asked.pop(reference)
            try:
                answer = self._get(reference)
            except self._ray.exceptions.RayActorError as error:
                self._on_death(worker, error)
            else:
                on_answer(answer)

    def _get(self, reference: Any) -> Any:
        """Return an answer, or raise what the actor's method raised."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, BatchError):
                raise error.cause from None
            raise

    def _on_block(self, found: tuple[BlockPlan, Any] | None) -> None:
        self._reading = False
        if found is None:
            self._read_all = True
        else:  # the rows stay in Ray's store until the block is finished
            self.book.add(found)

    def _on_ready(self, name: str, actor: Any, problem: str) -> None:
        if problem:
            raise ConfigError(problem)
        if not self._workers and not self._blocks:
            self._begun = time.monotonic()
        self._workers[name] = actor
        self.book.join(name)
        self._ask(name, actor.run.remote(), self._on_ended)

    def _on_read(self, one: Assignment, goes_on: bool) -> None:
        if not goes_on:  # the worker has ended, which says why in an answer of its own
            return
        self.book.on_read(one.block, one.attempt)
        done = self._workers[one.worker].finish.remote(one.block, one.attempt)
        self._ask(one.worker, done, partial(self._on_done, one))

    def _on_done(self, one: Assignment, tally: Tally | None) -> None:
        if tally is not None and self.book.on_done(one.block, one.attempt):
            self._tally.merge(tally)
            self._blocks += 1
            self._deaths = 0
            self._report(self.summary())

    def _on_ended(self, ended: Ended) -> None:
        self._leases += ended.leases
        self._calls += ended.calls
        if not ended.complete:
            msg = (
                f"a worker ended before its time: {ended.reason}; what is finished is in the "
                "journal, and the same call goes on from it"
            )
            raise BatchError(msg)

    def _report(self, summary: RunSummary) -> None:
        if self.progress is not None:
            self.progress(summary)

    # -- ends --------------------------------------------------------------------------------

    def _on_death(self, name: str, error: Exception) -> None:
        if not name:
            msg = f"the actor that reads the dataset has died: {error}"
            raise BatchError(msg) from error
        if getattr(error, "actor_init_failed", False):  # another one would fail as well
            msg = f"a worker cannot be started: {_last_line(error)}"
            raise ConfigError(msg) from error
        self._asked = {ref: asked for ref, asked in self._asked.items() if asked[0] != name}
        self._workers.pop(name, None)
        self.actors.retire(name)
        self._lost += 1
        self._deaths += 1
        worst = self.book.on_lost(name)
        if worst is not None:
            msg = (
                f"{MOST_ATTEMPTS} workers have died over block {worst}; a row in it may be at "
                f"fault, or the memory of a worker is too small. The last one: {error}"
            )
            raise BatchError(msg) from error
        if self._deaths >= _MOST_DEATHS * self.actors.seats:
            msg = f"{self._deaths} workers have died one after the other, the last one: {error}"
            raise BatchError(msg) from error
        self._start_worker()

    def _close_workers(self) -> None:
        """Let the engines end, which have nothing left to do."""
        for actor in self._workers.values():
            actor.close.remote()
        running: list[Any] = [
            ref for ref, (_, then) in self._asked.items() if then == self._on_ended
        ]
        ended, _ = (
            self._ray.wait(running, num_returns=len(running), timeout=_STOP)
            if running
            else ([], [])
        )
        for reference in ended:
            # A worker that dies now takes nothing with it.
            with suppress(self._ray.exceptions.RayActorError):
                self._on_ended(self._get(reference))

    def _stop_workers(self) -> None:
        """Have workers write what is answered, for a while."""
        stopped = [actor.stop.remote("the run was ended") for actor in self._workers.values()]
        if stopped:
            self._ray.wait(stopped, num_returns=len(stopped), timeout=_STOP)


def _last_line(error: Exception) -> str:
    """Return what an error of Ray ends with, behind the frames of the other process."""
    return str(error).rstrip().rpartition("\n")[2].strip()
