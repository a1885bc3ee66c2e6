"""Segments, the index over them, groups, and the book of attempts: whatever comes in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.journal import State
from batchllm.ray.attempts import MOST_ATTEMPTS, AttemptBook
from batchllm.ray.finished import Finished
from batchllm.ray.grouping import GROUP_SECONDS, MOST_IN_GROUP, Grouping
from batchllm.ray.segments import (
    Header,
    Line,
    Stored,
    read_line,
    scan,
    write_header,
    write_stored,
)

HEADER = Header("ab" * 16, 3, 12, 1)
KEYS = st.integers(0, 5).map(lambda n: n.to_bytes(16, "little"))
# One line each, as JSON is.
PAYLOADS = st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b" "))
RESULTS = st.builds(Stored, st.sampled_from(State), KEYS, st.none() | st.floats(0, 10), PAYLOADS)


def segment(results: list[Stored]) -> list[bytes]:
    return [write_header(HEADER), *map(write_stored, results)]


@given(st.lists(RESULTS, max_size=8))
def test_a_segment_is_read_as_it_was_written(results: list[Stored]) -> None:
    lines = segment(results)
    header, *found = scan(lines)
    assert header == HEADER
    whole = b"".join(lines)
    for line, result in zip(found, results, strict=True):
        assert isinstance(line, Line)
        rest = whole[line.offset :]
        assert read_line(rest[: rest.index(b"\n") + 1]) == result


@given(st.lists(RESULTS, min_size=1, max_size=6), st.data())
def test_what_is_cut_off_or_damaged_is_no_result_and_the_rest_is(
    results: list[Stored], data: st.DataObject
) -> None:
    """A worker was killed in the middle of a line, or a disk shows other bytes."""
    whole = b"".join(segment(results))
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    found = [part for part in scan(cut.splitlines(keepends=True)) if isinstance(part, Line)]
    assert [(line.state, line.key) for line in found] == [
        (result.state, result.key) for result in results[: len(found)]
    ]
    place = data.draw(st.integers(0, len(whole) - 1))
    broken = bytearray(whole)
    broken[place] ^= data.draw(st.integers(1, 255))
    known = {(result.state, result.key) for result in results}
    for part in scan(bytes(broken).splitlines(keepends=True)):
        assert part == HEADER or (isinstance(part, Line) and (part.state, part.key) in known)


def test_a_segment_without_its_header_says_nothing() -> None:
    result = Stored(State.DONE, bytes(16), None, b"{}")
    assert list(scan([write_stored(result)])) == []
    assert read_line(write_header(HEADER)) is None


@given(st.lists(st.lists(RESULTS, max_size=5), max_size=5), st.booleans())
def test_the_first_success_of_an_item_wins(
    segments: list[list[Stored]], retry_failed: bool
) -> None:
    """As a plain list of all results says it, in the order of the segments."""
    finished = Finished(retry_failed)
    everything = list[tuple[int, Stored]]()
    for number, results in enumerate(segments):
        lines = segment(results)
        assert finished.add(scan(lines)) == number
        everything += [(number, result) for result in results]
    for key in {result.key for _, result in everything}:
        own = [(number, result) for number, result in everything if result.key == key]
        done = [number for number, result in own if result.state is State.DONE]
        failed = [number for number, result in own if result.state is State.FAILED]
        expected = done + ([] if retry_failed else failed[::-1])
        assert [place.segment for place in finished.find(key)] == expected
    assert finished.find(b"\xff" * 16) == []
    assert finished.answers == sum(result.state is State.DONE for _, result in everything)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 3)), max_size=600))
def test_a_group_is_due_in_time_and_never_too_large(steps: list[tuple[float, int]]) -> None:
    groups = Grouping[int, int]()
    now, given_, taken = 0.0, list[tuple[int, int]](), list[tuple[int, int]]()
    oldest: float | None = None
    for number, (seconds, key) in enumerate(steps):
        now += seconds
        if groups.due <= now:
            group = groups.take()
            assert sum(map(len, group.values())) <= MOST_IN_GROUP
            taken += [(key, value) for key, values in group.items() for value in values]
            oldest = None
        groups.add(now, key, number)
        given_.append((key, number))
        oldest = now if oldest is None else oldest
        assert groups.due <= oldest + GROUP_SECONDS
    taken += [(key, value) for key, values in groups.take().items() for value in values]
    assert sorted(taken) == sorted(given_)
    assert groups.take() == {}


# -- the book of attempts --------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "assign", "read", "done", "stale", "lost", "join"]),
        st.integers(0, 20),
    ),
    max_size=80,
)


@given(STEPS)
def test_each_block_is_finished_once_whatever_dies(steps: list[tuple[str, int]]) -> None:
    """No attempt number comes twice, no worker has too many unread blocks, and none is lost."""
    book = AttemptBook()
    living, open_, finished = ["w0"], list[tuple[int, int, str]](), set[int]()
    unread, seen, added = {"w0": 0}, set[tuple[int, int]](), 0
    was_read = set[tuple[int, int]]()
    stale = list[tuple[int, int]]()
    book.join("w0")
    for step, choice in steps:
        if step == "add":
            assert book.add(f"rows {added}") == added
            added += 1
        elif step == "join":
            name = f"w{len(unread)}"
            living.append(name)
            unread[name] = 0
            book.join(name)
        elif step == "assign":
            one = book.assign()
            if one is None:
                assert not book.waiting or all(unread[name] >= 2 for name in living)
                continue
            assert one.worker in living
            assert (one.block, one.attempt) not in seen
            assert one.data == f"rows {one.block}"
            seen.add((one.block, one.attempt))
            unread[one.worker] += 1
            assert unread[one.worker] <= 2
            open_.append((one.block, one.attempt, one.worker))
        elif step in ("read", "done") and open_:
            block, attempt, worker = open_[choice % len(open_)]
            if (block, attempt) not in was_read:
                was_read.add((block, attempt))
                unread[worker] -= 1
            book.on_read(block, attempt)
            if step == "done":
                assert book.on_done(block, attempt)
                assert block not in finished
                finished.add(block)
                open_.remove((block, attempt, worker))
                stale.append((block, attempt))
        elif step == "stale" and stale:
            block, attempt = stale[choice % len(stale)]
            book.on_read(block, attempt)
            assert not book.on_done(block, attempt)
        elif step == "lost" and living:
            name = living.pop(choice % len(living))
            gone = [one for one in open_ if one[2] == name]
            worst = book.on_lost(name)
            assert (worst is not None) == any(one[1] >= MOST_ATTEMPTS for one in gone)
            open_ = [one for one in open_ if one[2] != name]
            stale += [(block, attempt) for block, attempt, _ in gone]
        assert book.open == added - len(finished)
    for number in range(added):
        if number not in finished:
            assert book.data_of(number) == f"rows {number}"


def test_the_blocks_of_a_dead_worker_are_next_and_have_the_next_attempt() -> None:
    book = AttemptBook()
    book.join("a")
    for name in ("x", "y", "z"):
        book.add(name)
    first, second = book.assign(), book.assign()
    assert first is not None
    assert second is not None
    assert book.assign() is None  # it has two that are unread
    assert book.on_lost("a") is None
    assert not book.on_done(0, 1)  # what the dead one still says
    book.join("b")
    again = book.assign()
    assert again is not None
    assert (again.block, again.attempt, again.worker) == (0, 2, "b")
    assert book.again == 1
    assert book.on_done(0, 2)


def test_a_block_that_ends_all_its_workers_is_named() -> None:
    book = AttemptBook()
    book.add("x")
    for number in range(1, MOST_ATTEMPTS + 1):
        book.join(f"w{number}")
        assert book.assign() is not None
        worst = book.on_lost(f"w{number}")
        assert (worst == 0) == (number == MOST_ATTEMPTS)


def test_a_result_takes_sixteen_bytes() -> None:
    """And is no object of its own."""
    finished = Finished()
    lines = [Line(n * 100, State.DONE, n.to_bytes(8, "little") * 2) for n in range(20_000)]
    finished.add(lines)
    held = sum(
        shard.codes.itemsize * len(shard.codes) + shard.places.itemsize * len(shard.places)
        for shard in finished._shards.values()
    )
    assert held == 20_000 * 16
    assert [place.offset for place in finished.find(lines[777].key)] == [77_700]


@pytest.mark.parametrize("state", list(State))
def test_what_failed_outside_of_the_item_runs_again(state: State) -> None:
    finished = Finished()
    finished.add(scan(segment([Stored(state, bytes(16), None, b"{}")])))
    assert bool(finished.find(bytes(16))) == (state is not State.BLOCKED)
