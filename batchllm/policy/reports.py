"""The limits that the server of one scope reported, and those of them that are believed.

A limit that a reply names with its period is adopted at once, as a bucket; what is *left* of one is
followed from reply to reply, and counts as confirmed when replies agree on it. Calls that were
accepted against a claim take it back, and nothing that is reported replaces what is declared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import isfinite
from typing import Final, TypeAlias, cast

from attrs import evolve

from batchllm.core import LimitHint
from batchllm.policy.bucket import Limit, LimitDimension
from batchllm.policy.buckets import Buckets, alike
from batchllm.policy.reported import Accepted, Countdown, Kind, ReportedLimit

__all__ = ["Key", "Reports"]

_LONGEST: Final = 40 * 86_400.0
"""Seconds of the longest period that is believed: a month, and some days to spare."""
_JITTER: Final = 0.5
"""Seconds by which the way to the server may vary, as for declared limits."""
_JITTER_SHARE: Final = 0.1
"""Share of a period that a reported limit gives up for jitter at most: it is a claim, and a
refusal costs less than a tenth of the pace."""
_MOST_REPORTED: Final = 32
"""Limits of one scope that are followed; names come from the server, and real ones have six."""
_MOST_ADOPTED: Final = 100
"""Adoptions that wait to be logged."""
_NEAR: Final = 0.03
"""Share by which a measured period may differ from the one that it is taken for."""
_USUAL: Final = (60.0, 3600.0, 86_400.0)
"""Seconds of a period that is meant where it is near; else it is whole seconds."""
Key: TypeAlias = tuple[str, str]
"""The dimension of a reported limit, and the name that the server gives it."""


class Reports:
    """The limits that the server of one scope reports. Live state, for one clock.

    Args:
        buckets: Where adopted limits are kept.
        own_address: Whether the scope is at a provider's own address, where a limit that names no
            period is one of a minute (or, by its reset, of a day). Elsewhere it has the period
            that replies show.

    Attributes:
        limits: Those whose rest is followed from reply to reply.
        sure: Those of them that replies agree on, with their period.
        parallel_cap: The calls in flight at once that the server allows; ``None`` if it named none.
    """

    __slots__ = (
        "_accepted", "_adopted", "_assumed", "_bound", "_buckets", "_noted", "_own_address",
        "limits", "parallel_cap", "sure",
    )  # fmt: skip

    def __init__(self, buckets: Buckets, *, own_address: bool) -> None:
        self._buckets = buckets
        self._own_address = own_address
        self.limits: dict[Key, ReportedLimit | Countdown] = {}
        self.sure: dict[Key, Limit] = {}
        self.parallel_cap: int | None = None
        self._bound: dict[Key, float] = {}
        self._assumed: set[tuple[str, float]] = set()
        self._accepted = Accepted()
        self._adopted: deque[tuple[Limit | int, str]] = deque(maxlen=_MOST_ADOPTED)
        self._noted: dict[Key, Limit] = {}

    def extra(self) -> dict[Key, Limit]:
        """Return the confirmed limits that no bucket stands for."""
        if not self.sure:
            return {}
        return {k: limit for k, limit in self.sure.items() if not self._buckets.covers(limit)}

    def drain_adopted(self) -> list[tuple[Limit | int, str]]:
        """Return what was adopted since this was last called, and where each came from.

        A number is a cap on calls in flight.
        """
        if not self._adopted:
            return []
        adopted = list(self._adopted)
        self._adopted.clear()
        return adopted

    # -- what replies show -------------------------------------------------------------------

    def on_accepted(self, now: float, sent_at: float) -> None:
        """Note that a call sent at *sent_at* was accepted: answers overrule what was claimed."""
        self._accepted.add(sent_at, now)
        if self.limits:
            for reported in self.limits.values():
                reported.on_accepted(now, sent_at)

    def on_refused(self, now: float, sent_at: float) -> None:
        """Note that a call sent at *sent_at* was refused."""
        for reported in self.limits.values():
            reported.on_refused(now, sent_at)

    def explains(self, hint: LimitHint) -> bool:
        """Return whether a refusal for *hint* is one for tokens that are counted down here.

        How many calls fit is known from then on by what answers say is left, so that the refusal
        shows no pace of requests.
        """
        return any(self._counted_down(hint))

    def gave_back(self, hint: LimitHint, since: float) -> bool:
        """Return whether a call was answered after *since* that takes of the limit of *hint*."""
        return any(each.answered_at >= since for each in self._counted_down(hint))

    def _counted_down(self, hint: LimitHint) -> Iterator[Countdown]:
        """Yield what counts the tokens down of which a refusal says that none are left."""
        if hint.remaining == 0 and hint.dimension != "requests":
            for each in self.limits.values():
                if isinstance(each, Countdown) and each.binds and each.dimension == hint.dimension:
                    yield each

    def observe_parallel(self, hint: LimitHint) -> None:
        """Adopt a cap on parallel calls, unless more were accepted at once lately."""
        cap = hint.amount
        if cap is None or cap <= 0 or cap == self.parallel_cap:
            return
        # Some of those that overlap here had ended at the server before the others began.
        if self._accepted.most_at_once() <= cap + max(2, cap // 2):
            self.parallel_cap = cap
            self._adopted.append((cap, _where(hint)))

    def observe(self, hint: LimitHint, now: float, sent_at: float, sent: int) -> bool:
        """Learn what a reply to a call sent at *sent_at* reported.

        Args:
            hint: One limit of the reply.
            now: When it came.
            sent_at: When its call was sent.
            sent: Units of the limit's dimension that had been sent up to and with that call.

        Returns:
            Whether it made a limit known that was not known before.
        """
        key = (hint.dimension, hint.name)
        reported = self.limits.get(key)
        if reported is not None and reported.passes_over(hint, now, sent):
            return False
        before = self._follow(key, reported, hint, now, sent_at, sent)
        return self._adopt(hint, now) or before

    def _follow(
        self,
        key: Key,
        reported: ReportedLimit | Countdown | None,
        hint: LimitHint,
        now: float,
        sent_at: float,
        sent: int,
    ) -> bool:
        """Take what is left, and how it comes back; whether that confirmed a limit."""
        timed = hint.reset is not None
        if reported is None or (timed and isinstance(reported, Countdown)):
            if hint.remaining is None or len(self.limits) >= _MOST_REPORTED:
                return False
            reported = _follower(hint)
            reported.observe(hint, now, sent_at, sent)
            if not reported.binds:
                return False
            self.limits[key] = reported
        else:
            reported.observe(hint, now, sent_at, sent)
        return self._confirm(key, reported)

    def _confirm(self, key: Key, reported: ReportedLimit | Countdown) -> bool:
        """Keep a limit that replies agree on in the place of one that was assumed."""
        dimension, _ = key
        if isinstance(reported, Countdown) or not reported.sure:
            self.sure.pop(key, None)
            self._unbind(key)
            return False
        if dimension in self._buckets.declared:
            return False
        amount, per = cast("int", reported.amount), cast("float", reported.period)
        known = self.sure.get(key)
        if known is not None and known.amount == amount and alike(known.per, per):
            self._announce(key, reported, _plain(per))
            return False
        binds = reported.kind is Kind.SLIDING and dimension == "requests"
        limit = Limit(
            cast("LimitDimension", dimension), amount, per=_plain(per), jitter=_jitter(per)
        )
        self.sure[key] = limit
        self._drop_assumed(limit)
        self._unbind(key)
        if binds and self._buckets.adopt(limit):
            self._bound[key] = limit.per
        self._announce(key, reported, limit.per)
        return True

    def _announce(self, key: Key, reported: ReportedLimit, per: float) -> None:
        """Note a limit whose period is sure, and keep that as well as it is known by now."""
        if not reported.settled:
            return
        limit = self.sure[key]
        if abs(limit.per - per) > _NEAR * per and key not in self._bound:
            limit = self.sure[key] = evolve(limit, per=per)
        self._note(key, limit, "headers of several replies", measured=True)

    def _unbind(self, key: Key) -> None:
        """Give up the ledger that stood for a limit of which replies say something else now."""
        per = self._bound.pop(key, None)
        if per is not None:
            self._buckets.drop(key[0], per)

    def _drop_assumed(self, limit: Limit) -> None:
        """Give up a period that was only assumed, and that the replies contradict."""
        for bucket in list(self._buckets.kept):
            dimension, per = bucket.limit.dimension, bucket.limit.per
            if (dimension, per) not in self._assumed or dimension != limit.dimension:
                continue
            if not alike(per, limit.per):
                self._buckets.drop(dimension, per)
                self._assumed.discard((dimension, per))

    def _adopt(self, hint: LimitHint, now: float) -> bool:
        """Keep a limit that the server reported with its period; a declared one is not replaced."""
        if (
            hint.dimension in self._buckets.declared
            or not _sensible(hint.per)
            or (hint.amount or 0) <= 0
        ):
            return False
        per, amount = cast("float", hint.per), cast("int", hint.amount)
        if hint.assumed and (not self._own_address or self._knows_better(hint, per)):
            return False
        if hint.dimension == "requests" and self._accepted.contradicts(amount, per, now):
            self._buckets.drop(hint.dimension, per)
            return False
        limit = Limit(cast("LimitDimension", hint.dimension), amount, per=per, jitter=_jitter(per))
        if not self._buckets.adopt(limit):
            return False
        if hint.assumed:
            self._assumed.add((limit.dimension, per))
        source = f"{_where(hint)}, {'assumed' if hint.assumed else 'stated'} period"
        self._note((hint.dimension, source), limit, source)
        return True

    def _note(self, key: Key, limit: Limit, source: str, *, measured: bool = False) -> None:
        """Report an adopted limit, once as long as it stays what it was.

        A period that is measured may drift for as long as little of the limit is used: its reset is
        in whole seconds then, and the amount alone is the server's own word.
        """
        known = self._noted.get(key)
        same = known is not None and known.amount == limit.amount
        if known is not None and same and (measured or alike(known.per, limit.per)):
            return
        self._noted[key] = limit
        self._adopted.append((limit, source))

    def _knows_better(self, hint: LimitHint, per: float) -> bool:
        known = self.sure.get((hint.dimension, hint.name))
        return known is not None and not alike(known.per, per)


def _where(hint: LimitHint) -> str:
    return "headers" if hint.source == "headers" else "words of a refusal"


def _follower(hint: LimitHint) -> ReportedLimit | Countdown:
    # Anthropic documents buckets; everywhere else the next reply has to show it. The words of a
    # refusal say what was left then, and no answer says what is left now.
    steady = hint.name.startswith("anthropic ")
    if hint.reset is None and not steady and hint.source == "headers":
        return Countdown(hint.dimension)
    return ReportedLimit(hint.dimension, steady=steady)


def _plain(per: float) -> float:
    """Return a measured period as its server has it in its settings, if it is near to that."""
    for plain in (*_USUAL, float(round(per))):
        if abs(per - plain) <= _NEAR * per:
            return plain
    return round(per, 3)


def _jitter(per: float) -> float:
    return min(_JITTER, _JITTER_SHARE * per)


def _sensible(seconds: float | None) -> bool:
    return seconds is not None and isfinite(seconds) and 0 < seconds <= _LONGEST
