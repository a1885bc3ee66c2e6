"""A row of the benchmark: a server, what is sent to it, and the bounds that it is held to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import fmean
from typing import Final, Literal

from attrs import field, frozen

from batchllm.policy import Limit
from batchllm.simulator import HintRule
from benchmarks.quota.makers import Make
from benchmarks.quota.world import Traffic

Part = Literal["hour", "job", "shared", "shared job", "dead", "cold"]


_SHARES: Final = ("used", "refused", "refused late")
"""Figures that are printed in percent."""


@frozen
class Check:
    """A bound on one figure of a row, over the mean of its seeds or the worst of them."""

    figure: str
    least: float = -inf
    most: float = inf
    of: Literal["mean", "worst"] = "mean"

    def missed(self, runs: Sequence[Mapping[str, float]]) -> str:
        """Return what is wrong, or nothing."""
        values = [run[self.figure] for run in runs]
        if self.of == "mean":
            values = [fmean(values)]
        if min(values) < self.least:
            return f"{self.figure} {self._text(min(values))} < {self._text(self.least)}"
        if max(values) > self.most:
            return f"{self.figure} {self._text(max(values))} > {self._text(self.most)}"
        return ""

    @property
    def text(self) -> str:
        """Return the bound as a reader wants it."""
        worst = "worst " if self.of == "worst" else ""
        sides = [f"≥ {self._text(self.least)}"] if self.least > -inf else []
        sides += [f"≤ {self._text(self.most)}"] if self.most < inf else []
        return f"{worst}{self.figure} {', '.join(sides)}"

    def _text(self, value: float) -> str:
        return f"{100 * value:.4g} %" if self.figure in _SHARES else f"{value:.4g}"


def used(least: float) -> Check:
    """Bound the use of the quota from the tenth minute on."""
    return Check("used", least=least)


def refused(most: float) -> Check:
    """Bound the refused share of the whole run."""
    return Check("refused", most=most)


def refused_late(most: float) -> Check:
    """Bound the refused share after the first five minutes."""
    return Check("refused late", most=most)


NEVER_SILENT: Final = Check("silence over", most=0.0, of="worst")
NOT_PARKED: Final = Check("parked", most=0.0, of="worst")
ALWAYS: Final = (NEVER_SILENT, NOT_PARKED)
"""Hold on every server: no silence beyond the largest hint or 24 s, and no scope is parked."""

BUCKET: Final = (used(0.985), refused_late(0.005))
WINDOW: Final = (used(0.985), refused_late(0.010))
DECLARED_IS_KEPT: Final = Check("refused by quota", most=0.0, of="worst")
"""Holds for a declared quota: what is refused is refused by chance."""
DECLARED: Final = (used(0.98), DECLARED_IS_KEPT)
UNTUNED: Final = (used(0.95), refused(0.015))


@frozen(kw_only=True)
class Case:
    """One server, and what a client that knows nothing must reach on it.

    Attributes:
        name: Names it in tables.
        make: Makes it, with the rule for its hints.
        checks: The bounds for a client that knows nothing.
        hinted: The bounds with hints, if they are others.
        lies: Its own rule for hints; there is no run without hints then.
        traffic: What is sent.
        hour: Seconds of a full run; less if a server takes very many calls.
        warm: Seconds from which "used" counts, so that whole windows follow.
        declared: The limits of a client that knows the quota, if that is to be tried.
        declared_checks: The bounds for it.
        ideal: Seconds that a job takes at best; 0 for an endless backlog.
        part: The kind of run, which decides on its columns.
        clients: How many share the backlog, each with its own limiter and callers.
    """

    name: str
    make: Make
    checks: tuple[Check, ...]
    hinted: tuple[Check, ...] | None = None
    lies: HintRule | None = None
    traffic: Traffic = field(factory=Traffic)
    hour: float = 3600.0
    warm: float = 600.0
    declared: tuple[Limit, ...] = ()
    declared_checks: tuple[Check, ...] = DECLARED
    ideal: float = 0.0
    part: Part = "hour"
    clients: int = 1

    def bounds(self, rule: str, hints: str) -> tuple[Check, ...]:
        """Return the bounds of a row; rivals have none."""
        if rule == "declared":
            return (*self.declared_checks, *ALWAYS)
        if rule != "batchllm":
            return ()
        return self.hinted if self.hinted is not None and hints == "yes" else self.checks


def by_name(cases: Iterable[Case]) -> dict[str, Case]:
    """Index cases by their names, which must differ."""
    found: dict[str, Case] = {}
    for case in cases:
        if case.name in found:
            raise ValueError(f"Two cases are named {case.name!r}.")
        found[case.name] = case
    return found
