"""A worker without Ray, in virtual time: blocks in, segments and rows out, whatever ends it."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.from_thread
import pytest
from attrs import evolve, frozen

from batchllm import BatchError, ConfigError, JournalError, LLMCallStrategy, TokenUsage
from batchllm.policy import LeaseRequest, Limit, Quota
from batchllm.ray import RayLeases, StaleWorkerError
from batchllm.ray.authority import Authority
from batchllm.ray.folder import read_folder
from batchllm.ray.segments import Line, scan
from batchllm.ray.worker import Worker
from batchllm.shared import GateUnreachableError
from tests.ray.kit import Asked, in_memory, make_job, next_run, plans_of, rows_of, work

pa = pytest.importorskip("pyarrow")
pytestmark = pytest.mark.anyio


def tables(count: int, size: int = 10) -> list[Any]:
    rows = [{"id": n, "prompt": f"p{n}", "year": 1900 + n} for n in range(count)]
    return [pa.Table.from_pylist(rows[n : n + size]) for n in range(0, count, size)]


async def test_each_row_has_its_result_and_a_second_run_calls_nothing(tmp_path: Path) -> None:
    asked = Asked(fails=("p3",))
    job = make_job(tmp_path / "run", asked.strategy(), concurrency=10)
    ended = await work(job, plans_of(job, tables(25)))
    assert ended.complete
    assert ended.calls == 25 + 2  # one row was tried three times
    rows = rows_of(job)
    assert [(row["id"], row["year"]) for row in rows] == [(n, 1900 + n) for n in range(25)]
    assert [row["output"] for row in rows[:3]] == ["p0!", "p1!", "p2!"]
    assert not rows[3]["success"]
    assert "no answer" in rows[3]["error"]
    before = len(asked.prompts)
    again = next_run(job)
    # Cut in other blocks, and in another order.
    await work(again, plans_of(again, reversed(tables(25, 7))))
    assert len(asked.prompts) == before
    replayed = rows_of(again)
    assert all(row["replayed"] for row in replayed)
    assert {row["id"]: row["output"] for row in replayed} == {
        row["id"]: row["output"] for row in rows
    }


async def test_failures_run_again_if_that_is_asked_for(tmp_path: Path) -> None:
    asked = Asked(fails=("p3",))
    job = make_job(tmp_path / "run", asked.strategy())
    await work(job, plans_of(job, tables(5)))
    asked.prompts.clear()
    again = next_run(job)
    await work(again, plans_of(again, tables(5), retry_failed=True))
    assert set(asked.prompts) == {"p3"}


async def test_another_prompt_under_the_same_id_is_asked_about(tmp_path: Path) -> None:
    asked = Asked()
    job = make_job(tmp_path / "run", asked.strategy())
    await work(job, plans_of(job, [pa.table({"id": ["a", "b"], "prompt": ["one", "two"]})]))
    again = next_run(job)
    await work(again, plans_of(again, [pa.table({"id": ["a", "b"], "prompt": ["one", "new"]})]))
    assert sorted(asked.prompts[:2]) == ["one", "two"]
    assert asked.prompts[2:] == ["new"]


async def test_a_worker_that_is_stopped_keeps_what_is_answered(tmp_path: Path) -> None:
    """Rows in flight are asked about again by the next attempt, and no others."""
    asked = Asked()
    job = make_job(tmp_path / "run", asked.strategy(), concurrency=5)
    (plan, table), *_ = plans_of(job, tables(30, 30))
    worker = Worker(job, in_memory())
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        group.start_soon(worker.take, 0, 1, plan, table)
        await anyio.sleep(2.5)
        await worker.stop("a test")
    assert await worker.finish(0, 1) is None
    lines = list(scan(job.folder.segment(job.run, 0, 1).read_bytes().splitlines(keepends=True)))
    kept = sum(isinstance(line, Line) for line in lines)
    started = len(asked.prompts)
    assert 0 < kept < 30
    assert started - kept <= 5
    asked.prompts.clear()
    await work(job, [(plan, table)], attempt=2)
    assert len(asked.prompts) == 30 - kept
    rows = rows_of(job)
    assert [row["output"] for row in rows] == [f"p{n}!" for n in range(30)]
    assert not any(row["replayed"] for row in rows)  # this run has paid for all of them


async def test_half_a_line_of_a_worker_that_was_killed_is_asked_about_again(tmp_path: Path) -> None:
    asked = Asked()
    job = make_job(tmp_path / "run", asked.strategy())
    blocks = plans_of(job, tables(4))
    await work(job, blocks)
    file = job.folder.segment(job.run, 0, 1)
    file.write_bytes(file.read_bytes()[:-7])
    asked.prompts.clear()
    again = next_run(job)
    await work(again, plans_of(again, tables(4)))
    assert len(asked.prompts) == 1
    assert len(rows_of(again)) == 4


async def test_rows_that_cannot_be_asked_about_have_their_error(tmp_path: Path) -> None:
    asked = Asked()
    job = make_job(tmp_path / "run", asked.strategy())
    first = pa.table({"id": ["a", "a", None, "b"], "prompt": ["one", "two", "three", None]})
    second = pa.table({"id": ["b", "c"], "prompt": ["four", "five"]})
    await work(job, plans_of(job, [first, second]))
    errors = [row["error"] for row in rows_of(job)]
    assert errors[0] is errors[5] is None
    assert "'a' came before" in errors[1]
    assert "missing" in errors[2]
    assert "its prompt" in errors[3]
    assert "'b' came before" in errors[4]
    assert sorted(asked.prompts) == ["five", "one"]


async def test_messages_lose_the_fields_that_only_others_have(tmp_path: Path) -> None:
    prompts = [
        [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        [{"role": "user", "content": "hi", "name": "Ada"}],
    ]
    asked = Asked()
    job = make_job(tmp_path / "run", asked.strategy())
    blocks = plans_of(job, [pa.table({"id": [1, 2], "prompt": prompts})])
    await work(job, blocks)
    assert sorted(asked.prompts, key=len) == [prompts[1], prompts[0]]
    # The same messages in a table whose struct has other fields are the same prompt.
    again = next_run(job)
    await work(again, plans_of(again, [pa.table({"id": [1], "prompt": prompts[:1]})]))
    assert len(asked.prompts) == 2


@frozen
class Person:
    name: str
    age: int


class Persons(LLMCallStrategy[Person]):
    output = Person

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: Any = None
    ) -> tuple[Person, TokenUsage]:
        return Person(prompt, 7), TokenUsage(input_tokens=3, output_tokens=2)


async def test_outputs_of_a_type_make_a_typed_column_also_from_the_journal(tmp_path: Path) -> None:
    from pyarrow import parquet

    job = make_job(tmp_path / "run", Persons())
    for one in (job, next_run(job)):
        await work(one, plans_of(one, tables(3)))
        table = parquet.read_table(one.folder.rows(one.run, 0))
        assert table.schema.field("output").type == pa.struct(
            [("name", pa.string()), ("age", pa.int64())]
        )
        assert table["output"].to_pylist()[0] == {"name": "p0", "age": 7}
        assert table["input_tokens"].to_pylist() == [3, 3, 3]


async def test_a_disk_that_fails_ends_the_run_and_says_so(tmp_path: Path) -> None:
    asked = Asked()
    job = make_job(tmp_path / "run", asked.strategy())
    (plan, table), *_ = plans_of(job, tables(4))
    job.folder.segments.rmdir()
    worker = Worker(job, in_memory())
    async with anyio.create_task_group() as group:
        group.start_soon(worker.take, 0, 1, plan, table)
        with pytest.raises(JournalError, match="cannot be used: No such file"):
            await worker.run()
    assert await worker.finish(0, 1) is None


async def test_a_strategy_that_cannot_be_prepared_ends_the_run(tmp_path: Path) -> None:
    class Broken(Persons):
        async def prepare(self) -> None:
            raise ValueError("no connection")

    job = make_job(tmp_path / "run", Broken())
    worker = Worker(job, in_memory())
    (plan, table), *_ = plans_of(job, tables(2))
    async with anyio.create_task_group() as group:
        group.start_soon(worker.take, 0, 1, plan, table)
        with pytest.raises(BatchError, match="no connection"):
            await worker.run()
    assert await worker.finish(0, 1) is None
    assert not await worker.take(1, 1, plan, table)
    assert await worker.finish(1, 1) is None


async def test_a_machine_without_the_journal_or_with_another_is_named(tmp_path: Path) -> None:
    job = make_job(tmp_path / "run", Asked().strategy())
    missing = evolve(job, folder=evolve(job.folder, path=tmp_path / "nowhere"))
    assert "is not there on this machine" in await Worker(missing, in_memory()).ready()
    other = evolve(job, folder=evolve(read_folder(tmp_path / "other", make=True), salt=b"x"))
    assert "another one than that of the driver" in await Worker(other, in_memory()).ready()
    old = evolve(job, version="0.0.1")
    assert "install the same" in await Worker(old, in_memory()).ready()


class _Near:
    """The actor of an authority without Ray: its answers come from this event loop."""

    def __init__(self) -> None:
        self.authority = Authority()
        self.answers = True
        self.lease = SimpleNamespace(remote=self._lease)

    def _lease(self, request: LeaseRequest, worker: str) -> Any:
        if not self.answers:
            raise TimeoutError
        answer = Future[Any]()
        answer.set_result(anyio.from_thread.run(self.authority.lease, request, worker))
        return SimpleNamespace(future=lambda: answer)


async def test_a_worker_that_is_taken_for_dead_gets_no_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The authority refuses it, whatever it still does, so that it ends; the others go on."""
    ray = SimpleNamespace(exceptions=SimpleNamespace(RayActorError=KeyError))
    monkeypatch.setattr("batchllm.ray.authority.load_ray", lambda: ray)
    actor = _Near()
    first, second = (RayLeases.of_actor(actor, worker) for worker in ("w1", "w2"))
    minute = Quota(limits=(Limit("requests", 60),))
    assert (await first.lease(LeaseRequest(worker="x", number=1, quota=minute))).number == 1
    await actor.authority.retire("w1")
    with pytest.raises(StaleWorkerError, match="w1 was taken for dead"):
        await first.lease(LeaseRequest(worker="x", number=2, quota=minute))
    assert (await second.lease(LeaseRequest(worker="y", number=1, quota=minute))).number == 1
    other = Quota(limits=(Limit("requests", 90),))
    with pytest.raises(ConfigError, match="90 requests"):
        await second.lease(LeaseRequest(worker="z", number=1, quota=other))
    actor.answers = False
    with pytest.raises(GateUnreachableError, match="does not answer"):
        await second.lease(LeaseRequest(worker="y", number=2, quota=minute))
