"""The course of a journal's runs: one axis of time, and what was sampled along it. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define, field, frozen

__all__ = ["Axis", "Course", "Moment", "Stretch"]

_POINTS: Final = 400
"""Points of a curve: as many as a plot has columns, and one for two on a large one."""
_PAUSE: Final = "cooldown"
_OUTAGE: Final = "outage"
_MERGED: Final = 1 / 200
"""The share of the whole time below which a gap between two pauses is not seen."""


@frozen
class Stretch:
    """One run on the wall clock, in seconds since 1970."""

    run: int
    started: float
    ended: float


@define(eq=False)
class Axis:
    """Seconds of work: the time between two runs is left out.

    Args:
        stretches: The runs, in order.
    """

    stretches: Sequence[Stretch]
    _offsets: dict[int, float] = field(factory=dict, init=False)
    _by_run: dict[int, Stretch] = field(factory=dict, init=False)
    length: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        for stretch in self.stretches:
            self._offsets[stretch.run] = self.length
            self._by_run[stretch.run] = stretch
            self.length += max(0.0, stretch.ended - stretch.started)

    def at(self, run: int, moment: float) -> float | None:
        """Return the place of a moment of a run; ``None`` if the run is not known."""
        stretch = self._by_run.get(run)
        if stretch is None:
            return None
        inside = min(max(0.0, moment - stretch.started), max(0.0, stretch.ended - stretch.started))
        return self._offsets[run] + inside

    @property
    def joints(self) -> list[float]:
        """The places at which a later run went on."""
        return [self._offsets[stretch.run] for stretch in self.stretches[1:]]


@frozen
class Moment:
    """One sample of a run.

    Attributes:
        at: Seconds on the axis.
        data: As the journal has it.
    """

    at: float
    data: Mapping[str, Any]


@define(eq=False)
class Course:
    """Curves along the axis.

    Attributes:
        at: The places of the points.
        curves: In flight, waiting and sleeping items at each of them.
        used: The share of each limit that was in use, ``None`` before it was known.
        pauses: From where to where the run was held by a cooldown or an outage.
        held: Seconds during which calls waited, by cause.
        episodes: Pauses of all scopes.
    """

    at: list[float] = field(factory=list)
    curves: dict[str, list[float]] = field(factory=dict)
    used: dict[str, list[float | None]] = field(factory=dict)
    pauses: list[tuple[float, float]] = field(factory=list)
    held: dict[str, float] = field(factory=dict)
    episodes: int = 0

    @classmethod
    def of(cls, runs: Sequence[Sequence[Moment]], length: float) -> Course:
        """Make the curves of the samples of each run.

        Args:
            runs: Per run its samples in order, whose sums begin at 0 in each.
            length: Of the axis, in seconds.
        """
        course = cls()
        for moments in runs:
            course._add_sums(moments)
            course._add_pauses(moments)
        course.pauses = _joined(course.pauses, length * _MERGED)
        moments = [moment for one in runs for moment in one]
        several = any(len(moment.data.get("scopes", {})) > 1 for moment in moments)
        for group in _thinned(moments, length):
            course._add_point(group, several=several)
        return course

    def _add_sums(self, moments: Sequence[Moment]) -> None:
        last = moments[-1].data if moments else {}
        for cause, seconds in last.get("held", {}).items():
            self.held[cause] = self.held.get(cause, 0.0) + seconds
        self.episodes += last.get("episodes", 0)

    def _add_pauses(self, moments: Sequence[Moment]) -> None:
        held, begin = 0.0, moments[0].at if moments else 0.0
        for moment in moments:
            causes = moment.data.get("held", {})
            so_far = causes.get(_PAUSE, 0.0) + causes.get(_OUTAGE, 0.0)
            if so_far > held:
                # Of several scopes the seconds add up, beyond those that have passed.
                self.pauses.append((max(begin, moment.at - (so_far - held)), moment.at))
            held, begin = so_far, moment.at

    def _add_point(self, group: Sequence[Moment], *, several: bool) -> None:
        """Add a point for samples that stand close together, the highest of each number."""
        self.at.append(group[-1].at)
        for name in ("in_flight", "waiting", "sleeping"):
            highest = max(moment.data.get(name, 0) for moment in group)
            self.curves.setdefault(name, []).append(highest)
        shares: dict[str, float] = {}
        for moment in group:
            for scope, state in moment.data.get("scopes", {}).items():
                for limit, share in state["used"].items():
                    name = f"{limit} ({scope})" if several else limit
                    shares[name] = max(share, shares.get(name, 0.0))
        points = len(self.at)
        for name in {**self.used, **shares}:
            before = self.used.setdefault(name, [None] * (points - 1))
            before.append(shares.get(name))


def _joined(pauses: Sequence[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """Return pauses in order, those put together that nearly touch."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(pauses):
        if joined and begin <= joined[-1][1] + gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def _thinned(moments: Sequence[Moment], length: float) -> list[list[Moment]]:
    """Return samples in groups, one for each point that is drawn."""
    edges = [length * (n + 1) / _POINTS for n in range(_POINTS)]
    groups: dict[int, list[Moment]] = {}
    for moment in moments:
        groups.setdefault(bisect_right(edges, moment.at), []).append(moment)
    return [groups[place] for place in sorted(groups)]
