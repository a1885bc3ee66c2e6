"""The three ways in which a batch is run, behind one function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import anyio
from attrs import define, field

from batchllm.api import BatchRun, run_batch, stream_batch
from batchllm.core import BaseMiddleware, BatchResult, ProcessorConfig, WorkItemResult

Face = Literal["collected", "streamed", "ordered"]
FACES: tuple[Face, ...] = ("collected", "streamed", "ordered")


@define
class Ended:
    """The end of a batch, whichever way it was run."""

    run: BatchRun[Any]
    results: list[WorkItemResult[Any, Any]] = field(factory=list)
    error: BaseException | None = None

    @property
    def batch(self) -> BatchResult[Any, Any]:
        return self.run.result

    @property
    def by_id(self) -> dict[str, WorkItemResult[Any, Any]]:
        found = {result.item_id: result for result in self.results}
        assert len(found) == len(self.results), "an item has more than one result"
        return found

    @property
    def categories(self) -> dict[str, str | None]:
        return {name: result.error_category for name, result in self.by_id.items()}


Act = Callable[[BatchRun[Any]], Awaitable[None]]


async def run_face(
    face: Face, items: Any, strategy: Any, *, act: Act | None = None, **options: Any
) -> Ended:
    """Run a batch, with *act* beside it, and gather the results as that face gives them."""
    options.setdefault("config", ProcessorConfig())
    # With a middleware, items are started before a call is free for them.
    options.setdefault("middlewares", [BaseMiddleware()])
    if face == "collected":
        return await _collect(items, strategy, act, options)
    return await _stream(items, strategy, act, options, ordered=face == "ordered")


async def _collect(items: Any, strategy: Any, act: Act | None, options: Any) -> Ended:
    ended = Ended(BatchRun())
    async with anyio.create_task_group() as group:
        if act is not None:
            group.start_soon(act, ended.run)
        try:
            result = await run_batch(items, strategy, into=ended.run, **options)
            ended.results = list(result.results)
        except Exception as error:
            ended.error = error
            ended.results = list(ended.run.result.results)
        group.cancel_scope.cancel()
    return ended


async def _stream(
    items: Any, strategy: Any, act: Act | None, options: Any, *, ordered: bool
) -> Ended:
    async with (
        anyio.create_task_group() as group,
        stream_batch(items, strategy, ordered=ordered, **options) as run,
    ):
        ended = Ended(run)
        if act is not None:
            group.start_soon(act, run)
        try:
            async for result in run:
                ended.results.append(result)
        except Exception as error:
            ended.error = error
        group.cancel_scope.cancel()
    return ended


def after(seconds: float, what: Callable[[BatchRun[Any]], Any]) -> Act:
    """Do *what* with the run after some seconds."""

    async def act(run: BatchRun[Any]) -> None:
        await anyio.sleep(seconds)
        what(run)

    return act
