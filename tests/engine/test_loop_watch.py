"""Only a source that holds the loop again and again is advised, never one that was paused."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from batchllm.engine.loop_watch import SEVERAL, SLOW_SECONDS, Clocks, SourceWatch

LONG = 2 * SLOW_SECONDS
SHORT = SLOW_SECONDS / 10


@define
class Machine:
    """Clocks that move only as a test says, and a watch that reads them."""

    wall: float = 100.0
    cpu: float = 5.0
    preemptions: int = 3
    reads: int = 0
    watch: SourceWatch = field(init=False)

    def __attrs_post_init__(self) -> None:
        clocks = Clocks(self._wall, lambda: self.cpu, lambda: self.preemptions, lambda: 0)
        self.watch = SourceWatch(clocks)

    def _wall(self) -> float:
        self.reads += 1
        return self.wall

    def wait(self, seconds: float) -> None:
        """Give the processor back, as a read from a disk does."""
        self.wall += seconds

    def compute(self, seconds: float) -> None:
        """Use the processor without being interrupted."""
        self.wall += seconds
        self.cpu += seconds

    def lose(self, seconds: float) -> None:
        """Have the processor taken away, as on a busy machine."""
        self.wall += seconds
        self.preemptions += 1

    def do(self, what: str, seconds: float) -> None:
        getattr(self, what)(seconds)

    def burst(self, *items: tuple[str, float], between: Iterable[tuple[str, float]] = ()) -> bool:
        """Read a burst of items, then do our own work; return whether advice is due."""
        self.watch.begin_burst()
        for what, seconds in items:
            if self.watch.closely:
                begun = self.watch.clocks.wall()
                self.do(what, seconds)
                self.watch.took(begun)
            else:
                self.do(what, seconds)
        for what, seconds in between:
            self.do(what, seconds)
        return self.watch.end_burst()


@pytest.mark.parametrize("what", ["wait", "compute"])
@pytest.mark.parametrize("size", [1, 8])
def test_a_source_that_waits_or_computes_is_advised_once(what: str, size: int) -> None:
    """As soon as it held the loop several times, and never again."""
    machine = Machine()
    due = [machine.burst(*[(what, LONG)] * size) for _ in range(12)]
    assert due.index(True) == (0 if size >= SEVERAL else SEVERAL - 1)
    assert due.count(True) == 1
    assert not machine.watch.closely


def test_one_that_is_slow_now_and_then_is_advised() -> None:
    """A cursor that fetches a page of a hundred items is found out."""
    machine = Machine()
    page = [[("compute", SHORT / 100)] * 10] * 9 + [[("wait", LONG)]]
    due = [machine.burst(*burst) for _ in range(5) for burst in page]
    assert due.count(True) == 1


def test_a_busy_machine_is_not_the_sources_fault() -> None:
    """Time for which the processor was taken away is not counted, however often that happens."""
    machine = Machine()
    assert not any(machine.burst(*[("lose", LONG)] * 8) for _ in range(50))


def test_a_stopped_process_is_not_the_sources_fault() -> None:
    """A stop looks as if the thread waited; it also meets our own work, and then none counts."""
    machine = Machine()
    for _ in range(50):
        assert not machine.burst(*[("wait", LONG)] * (SEVERAL - 1))
        assert not machine.burst(("wait", SHORT), between=[("wait", LONG)])


def test_stops_that_always_meet_the_source_are_not_its_fault() -> None:
    """A source that takes nearly all of the time is met by nearly all stops of the process."""
    machine = Machine()
    for _ in range(50):
        assert not machine.burst(("wait", LONG))
        for _ in range(50):
            assert not machine.burst(*[("compute", SHORT)] * 8)


def test_a_quick_source_costs_two_looks_at_the_clock_in_a_burst() -> None:
    """Items that are read at once are not measured one by one, but for the first burst."""
    machine = Machine()
    machine.burst(*[("compute", SHORT / 100)] * 8)
    machine.reads = 0
    for _ in range(100):
        machine.burst(*[("compute", SHORT / 100)] * 8)
    assert machine.reads == 200


moves = st.tuples(
    st.sampled_from(["wait", "compute", "lose"]), st.sampled_from([0.0, SHORT, LONG, 100 * LONG])
)


@given(st.lists(st.lists(moves, max_size=8), max_size=40))
def test_advice_comes_at_most_once_and_only_after_several(
    bursts: list[list[tuple[str, float]]],
) -> None:
    """With any source on any machine the advice is given once."""
    machine, held = Machine(), 0
    advised = 0
    for burst in bursts:
        held += sum(what != "lose" and seconds > SLOW_SECONDS for what, seconds in burst)
        if machine.burst(*burst):
            advised += 1
            assert held >= SEVERAL
    assert advised <= 1
