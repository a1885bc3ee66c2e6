"""One scenario, run and measured: time, refusals by the server's count, and what a user saw."""

from __future__ import annotations

import itertools
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import anyio
from attrs import fields, frozen

from batchllm import BatchResult, BatchRun, EndCause, ProcessorConfig, run_batch
from batchllm.engine import Stop
from batchllm.policy import Limit
from tests.real.process import Server
from tests.real.scenarios import Backend, Scenario, strategy_for

__all__ = ["Measured", "complaints", "measure"]

_LOOK_EVERY: Final = 0.5
"""Seconds between two looks at the run's gates."""
_REFUSALS: Final = frozenset({429, 503, 529})
_runs: Final = itertools.count(random.randrange(1_000_000))  # a key of its own for each run


@frozen(kw_only=True)
class Measured:
    """The outcome of one run.

    Attributes:
        took: Seconds.
        statuses: The server's answers by status, from its own record.
        sent: Calls as the run counted them.
        succeeded: Items with an answer.
        failed: Failed items by error category; those that were not run are not among them.
        not_run: Items without any result but that they were not run.
        pauses: Pauses of the scope, as the run counted them.
        ended: The cause of the run's end; ``"cut off"`` if it was ended for taking too long.
        log: Lines of the library's log from INFO on, each after its second.
        summary: ``BatchResult.summary()``.
        timeline: The state of the gates every half second.
        verdict: Of a server that judges its clients, what the run did wrong.
    """

    scenario: Scenario
    backend: Backend
    took: float
    statuses: Counter[int]
    sent: int
    succeeded: int
    failed: Counter[str]
    not_run: int
    pauses: int
    ended: str
    log: tuple[str, ...]
    summary: str
    timeline: tuple[str, ...]
    verdict: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        """Requests by the server's count."""
        return self.statuses.total()

    @property
    def refused(self) -> int:
        """Refusals by the server's count."""
        return sum(count for status, count in self.statuses.items() if status in _REFUSALS)

    @property
    def lost(self) -> int:
        """Items without an answer."""
        return self.scenario.items - self.succeeded


def measure(scenario: Scenario, server: Server, backend: Backend) -> Measured:
    """Run *scenario* against *server* on *backend*, in real time.

    A run that takes twice as long as it may, and ten seconds, is cancelled: what it had by then
    is measured.
    """
    return anyio.run(_measure, scenario, server, backend, backend=backend)


async def _measure(scenario: Scenario, server: Server, backend: Backend) -> Measured:
    key = scenario.key
    if not key.startswith("sk-"):
        key = f"{key}-{next(_runs)}"
    strategy = strategy_for(scenario, server.url, key)
    config = ProcessorConfig(
        max_workers=scenario.concurrency,
        park_after=scenario.park_after,
        progress_interval=max(10, scenario.items // 4),
    )
    prompts = [f"{n} ".ljust(scenario.prompt, "x") for n in range(scenario.items)]
    server.forget()
    before = server.statuses()
    run: BatchRun[Any] = BatchRun()
    timeline: list[str] = []
    begun = time.perf_counter()
    with _log_lines(begun) as log:
        async with anyio.create_task_group() as group:
            group.start_soon(_watch, run, scenario, begun, timeline)
            if scenario.down is not None:
                group.start_soon(_take_down, server, *scenario.down)
            result = await run_batch(prompts, strategy, config=config, into=run)
            group.cancel_scope.cancel()
    took = time.perf_counter() - begun
    ended = result.termination.cause
    return Measured(
        scenario=scenario,
        backend=backend,
        took=took,
        statuses=server.statuses() - before,
        sent=result.stats["calls_sent"],
        succeeded=result.succeeded,
        failed=_failures(result),
        not_run=result.not_run,
        pauses=result.stats["rate_limit_count"],
        ended="cut off" if ended is EndCause.STOPPED else ended.value,
        log=tuple(log),
        summary=result.summary(),
        timeline=tuple(timeline),
        verdict=tuple(server.verdict()),
    )


def complaints(measured: Measured) -> list[str]:
    """Return what is wrong with a run, a sentence each; none if it did what it must."""
    scenario = measured.scenario
    wrong = [*_wrong_ending(measured)]
    if measured.took > scenario.most_seconds:
        wrong.append(f"took {measured.took:.1f} s, at most {scenario.most_seconds:.1f} s are right")
    if scenario.ends == "answered" and measured.refused > scenario.may_be_refused:
        wrong.append(
            f"the server refused {measured.refused} calls, "
            f"at most {scenario.may_be_refused} are right"
        )
    seen = "\n".join((*measured.log, measured.summary))
    wrong.extend(f"nothing says {what!r}" for what in scenario.says if not re.search(what, seen))
    wrong.extend(
        f"something says {what!r}" for what in scenario.never_says if re.search(what, seen)
    )
    wrong.extend(f"the server says of its client: {found}" for found in measured.verdict)
    if measured.pauses and not any(" WARNING " in line for line in measured.log):
        wrong.append(f"{measured.pauses} pauses, and the log warned of none")
    return wrong


def _wrong_ending(measured: Measured) -> Generator[str]:
    scenario = measured.scenario
    match scenario.ends:
        case "answered":
            if measured.lost:
                yield f"{measured.lost} of {scenario.items} items lost ({measured.ended})"
        case "parked":
            if measured.ended != "parked":
                yield f"ended as {measured.ended}, not as parked"
            if measured.failed:
                yield f"items failed for a quota: {dict(measured.failed)}"
        case "fail_fast":
            most = 2 * scenario.concurrency
            if measured.ended != "fail_fast" or measured.requests > most:
                yield f"ended as {measured.ended} after {measured.requests} requests of {most}"
        case category:
            if measured.failed != {category: scenario.items}:
                yield f"failed as {dict(measured.failed)}, all have to be {category}"
            most = scenario.attempts * scenario.items
            if measured.requests > most:
                yield f"the server saw {measured.requests} requests, at most {most} are right"


def _failures(result: BatchResult[Any, Any]) -> Counter[str]:
    failed = (one for one in result.results if not one.success and not one.not_run)
    return Counter(str(one.error_category) for one in failed)


@contextmanager
def _log_lines(begun: float) -> Generator[list[str]]:
    """Collect what the library logs in the block, as a user would see it."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            second = time.perf_counter() - begun
            lines.append(f"{second:6.2f} {record.levelname} {record.getMessage()}")

    logger = logging.getLogger("batchllm")
    handler, level = Collect(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


async def _take_down(server: Server, after: float, seconds: float) -> None:
    """End *server* after some seconds, and start it again when it was gone for some more."""
    await anyio.sleep(after)
    await anyio.to_thread.run_sync(server.stop)
    try:
        await anyio.sleep(seconds)
    finally:
        server.start_again()


async def _watch(run: BatchRun[Any], scenario: Scenario, begun: float, lines: list[str]) -> None:
    """Note the state of the run's gates again and again, and end a run that hangs."""
    patience = 2 * scenario.most_seconds + 10
    while True:
        await anyio.sleep(_LOOK_EVERY)
        second = time.perf_counter() - begun
        lines.append(_state_of(run, second))
        if second > patience:
            run.stop(Stop.CANCEL, f"it takes longer than {patience:.0f} s")
            return


def _state_of(run: BatchRun[Any], second: float) -> str:
    stats = run.stats()
    held = {cause: round(time_, 1) for cause, time_ in stats["held_back"].items() if time_ > 0.05}
    gates = " | ".join(_words_of(one, anyio.current_time()) for one in stats["scopes"].values())
    return f"{second:6.2f} {run.result.succeeded:4} done, held back {held}, {gates}"


def _words_of(snapshot: Any, now: float) -> str:
    """Return the fields of a snapshot that say something; instants as seconds from now."""
    parts: list[str] = []
    for one in fields(type(snapshot)):
        value = getattr(snapshot, one.name)
        if value is None or value in ((), 0, False):
            continue
        if one.name == "until":
            value -= now
        parts.append(f"{one.name}={_short(value)}")
    return " ".join(parts)


def _short(value: Any) -> str:
    match value:
        case float():
            return f"{value:.3g}"
        case Limit():
            return f"{value.amount:g} {value.dimension}/{value.per:g}s"
        case tuple():
            return f"({', '.join(map(_short, value))})"
        case _:
            return str(value)
