"""A run at one moment, in words: what matters most comes first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from batchllm.cli.tallies import Tallies
from batchllm.core import as_clock, counted

__all__ = ["Snapshot", "duration_in_words", "short_number"]

_CATEGORIES_SHOWN = 3
_FULL = 0.95
"""The share of a limit in use beyond which it is what calls wait for."""

_SHORTEST_PERIOD = 1.0
"""Seconds; a shorter period of a reported limit is still a guess, and so would its rate be."""

_PAUSES: Final[Mapping[str, str]] = {
    "throttled": "cooldown",
    "overloaded": "server overloaded, cooldown",
    "outage": "no answer from the server, next try in",
}
_PARKED: Final[Mapping[str, str]] = {
    "exhausted": "quota exhausted",
    "hint_too_long": "quota back too late",
    "nothing_accepted": "nothing accepted any more",
    "canaries_refused": "nothing accepted any more",
}


@frozen(kw_only=True)
class Snapshot:
    """A run at one moment.

    Attributes:
        done: Rows written.
        total: Lines of the input, if that is known.
        failed: Rows without an answer.
        tokens: Tokens so far.
        cost: US dollars so far, if prices are known.
        most_cost: US dollars of the budget, if there is one.
        most_tokens: Tokens of the budget, if there is one.
        rate: Rows per second lately.
        limit: Calls per second that the quota allows, if one is known.
        elapsed: Seconds since the start.
        in_flight: Calls under way.
        waiting: Items that wait for their turn.
        sleeping: Items that wait to be tried again.
        reason: What those that wait are waiting for.
        pause: Seconds until that pause ends; ``None`` if none is going on.
        categories: The commonest kinds of failure, each with its count.
        ending: What the run is doing in place of going on, such as finishing its calls.
        batches: Batches of the provider that are under way.
        in_batches: Their requests.
        done_there: Of these, how many the provider counts as done.
    """

    done: int
    total: int | None
    failed: int
    tokens: int
    cost: float | None
    most_cost: float | None = None
    most_tokens: int | None = None
    rate: float
    limit: float | None = None
    elapsed: float = 0.0
    in_flight: int
    waiting: int
    sleeping: int
    reason: str | None = None
    pause: float | None = None
    categories: tuple[tuple[str, int], ...] = ()
    ending: str | None = None
    batches: int = 0
    in_batches: int = 0
    done_there: int = 0

    @classmethod
    def of(
        cls, tallies: Tallies, stats: Mapping[str, Any], now: float, ending: str | None = None
    ) -> Snapshot:
        """Return a run as its counts and its own numbers show it at *now*."""
        scopes = [*stats.get("scopes", {}).values()]
        own = stats.get("own_limits")
        quotas = [*scopes, *([] if own is None else [own])]
        waiting = stats.get("waiting", 0)
        budget = stats.get("budget") or {}
        of_provider = stats.get("provider_batches") or {}
        reason, pause = _pause_of(scopes, now)
        if reason is None and waiting:
            reason = _quota_of(quotas)
        return cls(
            done=tallies.done + tallies.before,
            total=tallies.total,
            failed=tallies.failed,
            tokens=tallies.tokens,
            cost=tallies.cost,
            most_cost=budget.get("max_cost"),
            most_tokens=budget.get("max_tokens_total"),
            rate=tallies.rate(now),
            limit=_limit_of(quotas),
            elapsed=stats.get("duration", 0.0),
            in_flight=stats.get("in_flight", 0),
            waiting=waiting,
            sleeping=stats.get("sleeping", 0),
            reason=reason,
            pause=pause,
            categories=tuple(tallies.categories.most_common()),
            ending=ending,
            batches=of_provider.get("batches", 0),
            in_batches=of_provider.get("requests", 0),
            done_there=of_provider.get("done", 0),
        )

    @property
    def eta(self) -> float | None:
        """Seconds that are left, if it goes on as lately; ``None`` if that cannot be said."""
        if self.total is None:
            return None
        rate = self.rate or (self.done / self.elapsed if self.elapsed > 0 else 0.0)
        left = max(0, self.total - self.done)
        return left / rate + (self.pause or 0.0) if rate > 0 else None

    def first(self) -> list[str]:
        """Return what is always to be seen: done, failed, and the time that is left."""
        of_total = "" if self.total is None else f"/{self.total:,}"
        parts = [f"{self.done:,}{of_total} done", f"{self.failed:,} failed"]
        if self.ending is not None:
            parts.append(self.ending)
        elif self.total is None:
            parts.append(f"{duration_in_words(self.elapsed)} so far")
        else:
            parts.append(f"ETA {'–' if self.eta is None else duration_in_words(self.eta)}")
        return parts

    def rest(self) -> list[str]:
        """Return what else there is to say, the most important first; nothing that is 0."""
        limit = "" if self.limit is None else f" (limit {self.limit:,.1f}/s)"
        parts = [f"{self.rate:,.1f}/s{limit}", f"{self.in_flight} calling"]
        parts += self._waits()
        if self.tokens:
            of = "" if self.most_tokens is None else f" of {short_number(self.most_tokens)}"
            parts.append(f"{short_number(self.tokens)}{of} tokens")
        if self.cost is not None:
            of = "" if self.most_cost is None else f" of {_money(self.most_cost)}"
            parts.append(f"{_money(self.cost)}{of}")
        return parts

    def errors(self) -> list[str]:
        """Return the commonest kinds of failure."""
        shown = [f"{count:,} {name}" for name, count in self.categories[:_CATEGORIES_SHOWN]]
        others = len(self.categories) - _CATEGORIES_SHOWN
        return [*shown, f"{others} more kinds"] if others > 0 else shown

    def describe(self) -> str:
        """Return everything in one line."""
        errors = self.errors()
        parts = [*self.first(), *self.rest(), *([f"failed: {', '.join(errors)}"] if errors else [])]
        return " · ".join(parts)

    def _waits(self) -> Iterator[str]:
        if self.batches:
            batches = counted(self.batches, "batch", "batches")
            done = f", {self.done_there:,} done there" if self.done_there else ""
            yield f"{self.in_batches:,} in {batches}{done}"
        pause = "" if self.pause is None else f" {duration_in_words(self.pause, short=True)}"
        if self.waiting:
            why = "a free call" if self.reason is None else f"{self.reason}{pause}"
            yield f"{self.waiting:,} waiting: {why}"
        elif self.reason is not None:
            yield f"{self.reason}{pause}"
        if self.sleeping:
            yield f"{self.sleeping:,} in backoff"


def _money(cost: float) -> str:
    """Return US dollars in the same width from one look to the next."""
    return f"${cost:,.4f}" if cost < 1 else f"${cost:,.2f}"


def _pause_of(scopes: list[Any], now: float) -> tuple[str | None, float | None]:
    """Return why the scope that pauses longest does so, and for how long still."""
    reason, longest = None, None
    for scope in scopes:
        if scope.cause is None:
            continue
        cause = str(scope.cause)
        if cause in _PARKED:
            return _PARKED[cause], None
        left = max(0.0, (scope.until or now) - now)
        if longest is None or left >= longest:
            reason, longest = _PAUSES.get(cause, cause.replace("_", " ")), left
    return reason, longest


def _quota_of(scopes: list[Any]) -> str | None:
    """Return which quota calls wait for, if one is used up or a pace is kept."""
    for scope in scopes:
        for limit, share in zip(scope.limits, getattr(scope, "used", ()), strict=False):
            if share >= _FULL:
                return f"quota of {limit.dimension.replace('_', ' ')}"
    return "quota" if any(scope.pace is not None for scope in scopes) else None


def _limit_of(scopes: list[Any]) -> float | None:
    """Return the calls per second that quotas allow: the lowest declared, reported or learned."""
    rates = [
        limit.amount / limit.per
        for scope in scopes
        for limit in scope.limits
        if limit.dimension == "requests" and limit.per >= _SHORTEST_PERIOD
    ]
    rates += [scope.pace for scope in scopes if scope.pace is not None]
    return min(rates, default=None)


def short_number(number: int) -> str:
    """Return a large number with a unit."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def duration_in_words(seconds: float, *, short: bool = False) -> str:
    """Return a time as a clock shows it; a *short* one below a minute in seconds."""
    whole = round(seconds)
    return f"{whole} s" if short and whole < 60 else as_clock(whole)
