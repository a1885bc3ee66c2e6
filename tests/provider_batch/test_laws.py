"""The laws of the pure parts, and of whole runs in which anything goes wrong."""

from __future__ import annotations

import random
import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchllm.api import run_batch
from batchllm.core import ProgramError
from batchllm.provider_batch.admission import Admission, Learned
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.names import ChunkName, account_of, custom_id, metadata_in
from batchllm.provider_batch.pacing import ChunkSizes, PullBack, WireLimits
from batchllm.provider_batch.polling import poll_delay
from batchllm.provider_batch.refinding import Found, Refinding, Strength
from batchllm.provider_batch.refusals import limit_in
from batchllm.provider_batch.rows import Answer, LineRow, LineState, Settling
from batchllm.provider_batch.states import IN_FLIGHT, Chunk, EndKind, Reason, State, advance
from batchllm.provider_batch.verdicts import (
    BatchProblem,
    CreateVerdict,
    EndVerdict,
    LineKind,
    NextOfLine,
    judge_create,
    judge_rejection,
    next_of_line,
)
from batchllm.simulator import BatchBehaviour, Mishap
from batchllm.testing import virtual_run
from tests.examples import examples
from tests.provider_batch.kit import World, marked, outputs

LIMITS = WireLimits(lines=50_000, bytes=200_000_000)


def chunk(**more: Any) -> Chunk:
    return Chunk(number=1, run="abcdefgh", provider="p", path="/x", model="m", lines=4, **more)


KNOWN: dict[str, Any] = {
    "attempt": 1,
    "intent": 1.0,
    "batch_id": "b",
    "end": EndKind.DONE,
    "reason": Reason.USER,
}


@given(st.data())
def test_a_chunk_that_may_run_has_its_intent_written_down(data: st.DataObject) -> None:
    """I2: no walk through the states comes to a create, or past it, without one."""
    at = chunk()
    for _ in range(12):
        state = data.draw(st.sampled_from(list(State)))
        try:
            at = advance(at, state, **data.draw(st.sampled_from([KNOWN, {}])))
        except ProgramError:
            continue
        if at.state in IN_FLIGHT:
            assert at.intent is not None or at.batch_id is not None
        if at.state is State.QUARANTINE:
            assert at.intent is not None
            assert at.attempt >= 1


def test_a_create_is_repeated_only_from_where_it_was_surely_none() -> None:
    for state in (State.RUNNING, State.CANCELLING, State.QUARANTINE):
        with pytest.raises(ProgramError):
            advance(chunk(state=state, **KNOWN), State.CREATING)
    with pytest.raises(ProgramError):
        advance(chunk(state=State.UPLOADED), State.CREATING)


@given(status=st.none() | st.integers(100, 599), readable=st.booleans(), sent=st.booleans())
def test_a_create_is_taken_for_none_only_by_an_answer_that_says_so(
    status: int | None, readable: bool, sent: bool
) -> None:
    verdict = judge_create(status, readable=readable, sent=sent)
    if status is None:
        assert (verdict is CreateVerdict.UNKNOWN) == sent
    elif status >= 500 or status in (408, 409, 425) or (200 <= status < 300 and not readable):
        assert verdict is CreateVerdict.UNKNOWN


@given(
    strength=st.sampled_from(Strength),
    resubmit=st.booleans(),
    since=st.floats(0, 200_000),
    found=st.integers(0, 3),
    looks=st.integers(0, 5),
)
def test_absence_is_proved_by_time_and_two_looks(
    strength: Strength, resubmit: bool, since: float, found: int, looks: int
) -> None:
    rule = Refinding(strength, 300.0, "resubmit" if resubmit else "quarantine")
    verdict = rule.judge(since, found, looks)
    if verdict is Found.ABSENT:
        assert (found, looks >= 2, since >= 300.0) == (0, True, True)
        exact = strength is Strength.EXACT
        assert exact or resubmit or since >= 25 * 3_600
    if verdict is Found.ADOPT:
        assert found == 1 or (found > 1 and strength is Strength.EXACT)


@given(
    since=st.floats(0, 100_000), looked=st.none() | st.floats(0, 100_000), looks=st.integers(1, 9)
)
def test_the_next_look_lies_ahead_of_the_last(
    since: float, looked: float | None, looks: int
) -> None:
    due = Refinding(Strength.EXACT, 300.0).next_look(since, looked, 0 if looked is None else looks)
    assert due > looked if looked is not None else due >= 0


@given(
    comes=st.floats(0, 200_000), slow=st.floats(0, 5), absent=st.sampled_from([300.0, 600.0, 1_800])
)
def test_absence_is_proved_as_soon_as_it_can_be(comes: float, slow: float, absent: float) -> None:
    """A process that comes at any time after the create waits for no look that is not needed."""
    rule = Refinding(Strength.EXACT, absent)
    now, looked, looks = comes, None, 0
    while True:
        now = max(now, rule.next_look(now, looked, looks)) + slow
        looks, looked = looks + 1, now
        if rule.judge(now, 0, looks) is Found.ABSENT:
            break
    assert looks <= 12
    assert now <= max(comes + 30.0, absent + 1.0) + 5.0 + looks * slow


@given(age=st.floats(0, 1e6), hint=st.none() | st.floats(0, 100), urgent=st.booleans())
def test_polls_are_neither_rude_nor_late(age: float, hint: float | None, urgent: bool) -> None:
    delay = poll_delay(age, random.Random(1), hint=hint, urgent=urgent)
    assert 8.0 <= delay <= max(720.0, hint or 0)
    assert delay >= (hint or 0)
    assert not urgent or delay <= max(36.0, hint or 0.0)


@given(
    limit=st.integers(1_000, 50_000),
    says=st.booleans(),
    sizes=st.lists(st.integers(10, 900), min_size=1, max_size=25),
)
def test_a_quota_is_learned_and_every_chunk_gets_its_turn(
    limit: int, says: bool, sizes: list[int]
) -> None:
    """Each chunk fits alone; what is in flight ends after the others have been tried."""
    admission, now = Admission(LIMITS), 0.0
    waiting, live = list(sizes), list[int]()
    for _ in range(2_000):
        if not waiting:
            break
        wait = admission.wait(waiting[0], sum(live), len(live), now)
        if wait is None:
            live.pop(0)
            admission.accepted()
            continue
        now += wait
        if sum(live) + waiting[0] <= limit:
            live.append(waiting.pop(0))
        else:
            split = admission.refused(
                waiting[0], sum(live), now, limit=limit if says else None, hint=None
            )
            assert not split
            if live:
                live.pop(0)
    assert not waiting


@given(tokens=st.integers(1, 10**6), limit=st.integers(10, 10**6), wrong=st.floats(0.2, 5.0))
def test_the_quota_is_kept_in_the_tokens_that_the_provider_counts(
    tokens: int, limit: int, wrong: float
) -> None:
    admission = Admission(LIMITS)
    admission.recall(Learned(named=limit))
    admission.counted(1_000_000.0, int(1_000_000 * wrong))
    fits = admission.wait(tokens, tokens, 1, 80_000.0) is not None
    assert fits == (2 * tokens * int(1_000_000 * wrong) / 1_000_000 <= 0.9 * limit)


@given(
    ends=st.lists(st.tuples(st.floats(0, 90_000), st.booleans()), max_size=30),
    fixed=st.none() | st.integers(1, 100_000),
)
def test_chunks_stay_within_their_bounds(ends: list[tuple[float, bool]], fixed: int | None) -> None:
    sizes = ChunkSizes(LIMITS, fixed)
    for seconds, expired in ends:
        sizes.ended(seconds, expired=expired)
        assert 1 <= sizes.lines <= 50_000
        assert fixed is not None or 100 <= sizes.lines <= 10_000
    assert sizes.bytes < LIMITS.bytes


@given(deadline=st.floats(0, 1e6), remaining=st.integers(0, 10**6), rate=st.floats(0.1, 1e4))
def test_a_batch_is_called_back_in_time(deadline: float, remaining: int, rate: float) -> None:
    pull = PullBack(deadline, rate, 600.0)
    assert pull.at(remaining) + 600.0 + remaining / rate < deadline


@given(
    problems=st.lists(
        st.builds(
            BatchProblem,
            st.sampled_from(["invalid_json_line", "token_limit_exceeded", "x"]),
            st.text(max_size=5),
            st.none() | st.integers(-3, 12),
        ),
        max_size=8,
    ),
    rejections=st.integers(1, 5),
)
def test_lines_are_dropped_only_if_they_are_named_and_few(
    problems: list[BatchProblem], rejections: int
) -> None:
    verdict, bad = judge_rejection(problems, 10, rejections)
    assert all(1 <= line <= 10 for line in bad)
    if verdict is EndVerdict.DROP_LINES:
        assert 0 < len(bad) <= 5
        assert rejections <= 3
    else:
        assert not bad


@given(
    kind=st.sampled_from(LineKind),
    status=st.integers(100, 599),
    at=st.integers(0, 4),
    hurried=st.booleans(),
    kept=st.booleans(),
)
def test_a_line_goes_into_a_batch_only_so_often(
    kind: LineKind, status: int, at: int, hurried: bool, kept: bool
) -> None:
    step = next_of_line(kind, status, round=at, rounds=2, hurried=hurried, kept=kept)
    if step is NextOfLine.BATCH:
        assert at < 2
        assert not hurried
        assert not kept
    if kind is LineKind.OK:
        assert step is NextOfLine.PUBLISH
    if kind is LineKind.ACCOUNT:
        assert step is NextOfLine.WAIT


@given(key=st.tuples(st.text(), st.text()), body=st.binary(), attempt=st.integers(1, 99))
def test_ids_of_lines_fit_every_provider(key: tuple[str, str], body: bytes, attempt: int) -> None:
    name = custom_id("abcdefgh", key, body, attempt)
    assert len(name) <= 40
    assert name.replace("-", "").replace("_", "").isalnum()
    assert name != custom_id("abcdefgh", key, body, attempt + 1)


def test_names_fit_what_providers_allow() -> None:
    name = ChunkName("abcdefgh", 12, 3, "01234567")
    assert len(name.metadata) <= 16
    assert all(len(key) <= 64 and len(value) <= 512 for key, value in name.metadata.items())
    assert ChunkName("abcdefgh", 12, 4, "01234567").is_in(name.metadata)
    assert not ChunkName("abcdefgh", 13, 3, "01234567").is_in(name.metadata)
    assert metadata_in(name.display) == name.metadata
    assert metadata_in("somebody's batch") == metadata_in("bllm-x-c1") == {}
    assert re.fullmatch(r"[a-z0-9-]{1,40}", name.file.removesuffix(".jsonl"))


def test_an_account_is_what_is_reported_else_its_key() -> None:
    assert account_of("u", ("org", ""), "k1") == account_of("u", ("org", ""), "k2")
    assert account_of("u", ("", ""), "k1") != account_of("u", ("", ""), "k2")
    assert account_of("u", ("org", ""), "k") != account_of("v", ("org", ""), "k")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("Limit: 2,000,000 enqueued tokens. Please try", 2_000_000.0),
        ("has surpassed the configured limit of 30K for the deployment", 30_000.0),
        ("the limit of 5 M tokens", 5_000_000.0),
        ("try again later", None),
        ("Quota exceeded for metric: x.com/batch_enqueued_tokens, limit: 3000000", 3_000_000.0),
        ("Quota exceeded for metric: x.com/batch_requests, limit: 10, model: m", None),
    ],
)
def test_a_limit_is_read_from_the_words(text: str, limit: float | None) -> None:
    assert limit_in(text) == limit


# -- the ledger -----------------------------------------------------------------------------------


class Journal:
    """The part of a journal's writer that the ledger needs, without one."""

    wall_clock = staticmethod(lambda: 1.0)


OUTCOME = st.sampled_from([LineState.ANSWERED, LineState.ONLINE, LineState.WAITING])


@given(
    given=st.lists(st.tuples(st.integers(-2, 7), OUTCOME), max_size=14),
    rest=st.sampled_from([LineState.ONLINE, LineState.WAITING]),
)
def test_a_settled_chunk_has_an_outcome_for_each_line(
    given: list[tuple[int, LineState]], rest: LineState
) -> None:
    """I1 and I5, whatever the results have twice, not at all, or for no line."""
    ledger = BatchLedger(cast("Any", Journal()))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB)")
        ledger._open(db)
        one = chunk(state=State.FETCHED, **KNOWN)
        rows = [
            LineRow(n, f"id{n}", "", f"={n}", b"", b"", 1, n, 1, LineState.SENT)
            for n in range(1, 5)
        ]
        ledger._add(one, rows, [], db)
        answers = [Answer(state, f"id{n}") for n, state in given]
        after = advance(one, State.SETTLED)
        settled = ledger._settle(one, Settling(after, answers, rest), "", db)
        assert sum(settled.states.values()) == one.lines
        assert LineState.SENT not in settled.states
        first = {}
        for n, state in given:
            first.setdefault(n, state)
        mine = {n: first.get(n, rest) for n in range(1, 5)}
        found = dict(db.execute("SELECT line, state FROM pb_line").fetchall())
        assert found == mine
        bound = dict(db.execute("SELECT line, chunk FROM pb_line").fetchall())
        assert all((bound[n] is None) == (mine[n] == LineState.WAITING) for n in mine)
        assert settled.strange == len(given) - len(first.keys() & set(range(1, 5)))


# -- whole runs -----------------------------------------------------------------------------------

MISHAPS = st.builds(
    Mishap,
    call=st.sampled_from(["upload", "create", "get", "list", "content"]),
    trouble=st.sampled_from(
        ["ghost-500", "ghost-reset", "ghost-cut", "500", "reset", "404", "429", "not-sent"]
    ),
    times=st.integers(1, 3),
    after=st.integers(0, 2),
)
MARKS = st.dictionaries(
    st.integers(0, 11),
    st.sampled_from(["400", "500", "missing", "status0", "text", "timeout"]),
    max_size=5,
)


def _definite(mishap: Mishap) -> bool:
    """Return whether it makes a create or an upload fail for good, as an answer of 404 does."""
    return mishap.trouble == "404" and mishap.call in ("create", "upload")


@pytest.mark.parametrize("model", ["openai:m", "anthropic:m", "gemini:m"])
@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.too_slow])
@given(
    mishaps=st.lists(MISHAPS.filter(lambda one: not _definite(one)), max_size=4),
    marks=MARKS,
    stops=st.lists(st.floats(0, 400), max_size=3),
    shuffled=st.booleans(),
)
def test_whatever_goes_wrong_each_item_is_paid_for_and_published_once(
    model: str, mishaps: list[Mishap], marks: dict[int, str], stops: list[float], shuffled: bool
) -> None:
    """I1, I3 and I7 of a whole run: trouble with any call, bad lines, and cancellations."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder), BatchBehaviour(shuffled=shuffled), model=model)
            for one in mishaps:
                world.goes_wrong(Mishap(one.call, one.trouble, one.times, one.after))
            items = marked(12, marks)
            for seconds in stops:
                with anyio.move_on_after(seconds):
                    await world.run(items, chunk_size=5, on_ambiguous="resubmit")
            result = await world.run(items, chunk_size=5, on_ambiguous="resubmit")
            plain = await run_batch(items, world.strategy())
            expected = outputs(plain)
            expected |= {str(n): "invalid_request" for n, mark in marks.items() if mark == "400"}
            assert outputs(result) == expected
            own = list(world.billed)
            assert len(own) == len(set(own))
            calls = dict(world.batches.calls)
            await world.run(items, chunk_size=5)
            assert world.batches.calls == calls

    virtual_run(main, backend="trio")
