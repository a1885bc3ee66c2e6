"""One run: a rule against a server with a seed, and the figures that come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from random import Random
from statistics import fmean
from typing import Final, Literal

from attrs import evolve, field, frozen

from batchllm.simulator import QuotaServer, RandomRefusals, exact_hint, no_hint
from benchmarks.quota.cases import Case, by_name
from benchmarks.quota.limiter import Limited, make
from benchmarks.quota.rivals import AimdConcurrency, CubicRate
from benchmarks.quota.special import SPECIAL
from benchmarks.quota.tuned import TUNED
from benchmarks.quota.untuned import UNTUNED
from benchmarks.quota.world import Client, Record, simulate

Rule = Literal["batchllm", "declared", "aimd", "cubic"]
Group = Literal["tuned", "untuned", "special"]
Figures = dict[str, float]

RIVALS: Final[tuple[Rule, ...]] = ("aimd", "cubic")
"""They run with one seed and without hints, which change next to nothing for either."""
RULES: Final[tuple[Rule, ...]] = ("batchllm", "declared", *RIVALS)
GROUPS: Final[dict[Group, dict[str, Case]]] = {
    "tuned": by_name(TUNED),
    "untuned": by_name(UNTUNED),
    "special": by_name(SPECIAL),
}
LONGEST_SILENCE: Final = 24.0
"""Seconds without a send that no rule of ours may exceed without a hint: 20 and its spread."""
_EARLY: Final = 300.0
"""Seconds: the end of "first", and the beginning of "refused late"."""


@frozen
class Spec:
    """The description of a run; a process needs no more to run it."""

    group: Group
    name: str
    rule: Rule
    hints: str
    seconds: float
    seed: int = 0

    @property
    def case(self) -> Case:
        """The server and its bounds."""
        return GROUPS[self.group][self.name]


@frozen
class Row:
    """The runs of one line of a table, one per seed."""

    spec: Spec
    runs: tuple[Figures, ...]
    missed: tuple[str, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        checks = self.spec.case.bounds(self.spec.rule, self.spec.hints)
        found = (check.missed(self.runs) for check in checks)
        object.__setattr__(self, "missed", tuple(text for text in found if text))

    def mean(self, figure: str) -> float:
        """Return the mean over the seeds."""
        return fmean(run[figure] for run in self.runs)

    def least(self, figure: str) -> float:
        """Return the smallest of the seeds."""
        return min(run[figure] for run in self.runs)

    def most(self, figure: str) -> float:
        """Return the largest of the seeds."""
        return max(run[figure] for run in self.runs)


def measure(spec: Spec) -> Figures:
    """Do one run."""
    case = spec.case
    # The name, since neighbouring seeds of one generator are no independent servers.
    rng = Random(f"{spec.name} {spec.seed}")
    hint = no_hint if spec.hints == "no" else case.lies or exact_hint
    server = case.make(rng, hint)
    clients = [_client(spec, number) for number in range(case.clients)]
    record = simulate(clients, server, rng=rng, traffic=case.traffic, until=spec.seconds)
    return _figures(spec, clients, server, record)


def _client(spec: Spec, number: int) -> Client:
    case = spec.case
    match spec.rule:
        case "batchllm":
            return make(100 * spec.seed + number, case.traffic.callers)
        case "declared":
            return make(100 * spec.seed + number, case.traffic.callers, case.declared)
        case "aimd":
            return AimdConcurrency(case.traffic.callers)
        case "cubic":
            return CubicRate(cap=case.traffic.callers)


def _figures(spec: Spec, clients: Sequence[Client], server: QuotaServer, record: Record) -> Figures:
    seconds = min(spec.seconds, record.ended)
    early, warm = min(_EARLY, seconds), min(spec.case.warm, seconds / 2)

    def used(begin: float, end: float) -> float:
        there = server.sustained(begin, end)
        return record.accepted_between(begin, end) / there if there else 0.0

    chance = server.refused if isinstance(server, RandomRefusals) else 0
    parked = sum(isinstance(each, Limited) and each.parked is not None for each in clients)
    silence = record.silence if parked else max(record.silence, record.final_silence)
    # Beside the pause, a slot of the pace may pass, or four after a canary, and two round trips.
    slot = seconds / max(1.0, server.sustained(0.0, seconds))
    allowed = max(LONGEST_SILENCE, record.longest_hint) + 4 * slot + 0.5
    return {
        "first": used(0.0, early) if early else 0.0,
        "used": used(warm, seconds),
        "refused": record.refused_share(),
        "refused late": record.refused_share(early, seconds),
        "refused by quota": float(len(record.refused) - chance),
        "refused first minute": float(record.refused_between(0.0, 60.0)),
        "silence": silence,
        "silence over": max(0.0, silence - allowed),
        "parked": float(parked),
        "last send": record.last_send,
        "x ideal": record.ended / spec.case.ideal if spec.case.ideal else 0.0,
        "lost": spec.case.traffic.items - record.answered if spec.case.ideal else 0.0,
    }


def plan(
    groups: Iterable[Group],
    rules: Sequence[Rule],
    hints: Sequence[str],
    *,
    minutes: float | None = None,
    chosen: Callable[[Case], bool] = lambda case: True,
) -> Iterator[Spec]:
    """List the rows to run: by group, server, rule and hints."""
    for group in groups:
        for case in filter(chosen, GROUPS[group].values()):
            seconds = case.hour
            if minutes is not None and case.part in ("hour", "shared"):
                seconds = min(seconds, 60 * minutes)
            for rule in rules:
                if rule == "declared" and not case.declared:
                    continue
                asked = hints[:1] if rule in RIVALS else hints
                for each in ["yes"] if case.lies else asked:
                    yield Spec(group, case.name, rule, each, seconds)


def run(specs: Iterable[Spec], seeds: Sequence[int], processes: int = 1) -> Iterator[Row]:
    """Run each spec with each seed, in parallel if there are processes; rows come in order."""
    wanted = [
        [evolve(spec, seed=seed) for seed in (seeds[:1] if spec.rule in RIVALS else seeds)]
        for spec in specs
    ]
    each = list(chain.from_iterable(wanted))
    if processes <= 1:
        yield from _rows(wanted, map(measure, each))
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from _rows(wanted, pool.map(measure, each))


def _rows(wanted: Iterable[Sequence[Spec]], figures: Iterator[Figures]) -> Iterator[Row]:
    for specs in wanted:
        yield Row(specs[0], tuple(next(figures) for _ in specs))
