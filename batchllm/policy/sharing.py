"""A rate limiter whose quota is shared with other workers: what it reports, and what it follows.

The authority of the quota learns from all workers what their calls met, and decides on pauses for
all of them; a fixed policy of the user's still answers the refusals of its own worker.
"""

from __future__ import annotations

from attrs import define, field

from batchllm.core import Outcome, ServerHint
from batchllm.policy.cooldown import Cause
from batchllm.policy.events import PaceLearned, Send
from batchllm.policy.followed_pauses import FollowedPauses
from batchllm.policy.leased_bucket import LeasedBucket
from batchllm.policy.leases import EndOfCall
from batchllm.policy.refusals import UNANSWERED, Refusals

__all__ = ["Sharing"]


@define(eq=False)
class Sharing:
    """Reports the calls of one scope to the authority of its quota, and follows its answers.

    Args:
        leased: The slots that this worker has.
        follows: The pauses that the authority decides on; ``None`` if the user's own policy does.
        refusals: Parks the scope, and has its events.
    """

    _leased: LeasedBucket
    _follows: FollowedPauses | None
    _refusals: Refusals
    _rate: float | None = field(default=None, init=False)

    def on_lease(self, now: float) -> None:
        """Note that the authority has answered, or does not."""
        leased, follows, refusals = self._leased, self._follows, self._refusals
        if follows is None:
            return
        refusals.events += follows.follow(now, leased.pause)
        if leased.rate is not None and leased.rate != self._rate:
            self._rate = leased.rate
            refusals.events.append(PaceLearned(at=now, rate=leased.rate))
        if leased.pause is not None and follows.parked is None:
            if follows.until - now > refusals.park_after:
                refusals.park(now, Cause.HINT_TOO_LONG, follows.until)
            elif leased.refused_for(now) >= refusals.park_after:
                refusals.park(now, Cause.NOTHING_ACCEPTED, None)

    def on_result(
        self, now: float, send: Send, outcome: Outcome, hint: ServerHint | None, *, explained: bool
    ) -> None:
        """Report how a call ended, for all workers' sake.

        Args:
            now: When.
            send: The call.
            outcome: Its end.
            hint: What the server reported with it.
            explained: Whether a refusal came with a limit that was not known before.
        """
        slot = None if send.admitted is None else send.admitted.leased
        if slot is not None:
            wait = None if hint is None else hint.wait
            how = self._how(outcome, hint)
            self._leased.on_end(now, slot, how, wait=wait, explained=explained)

    def on_cancel(self, now: float, send: Send) -> None:
        """Report that a call was cancelled, which may have reached the server."""
        slot = None if send.admitted is None else send.admitted.leased
        if slot is not None:
            self._leased.on_end(now, slot, "lost")

    def _how(self, outcome: Outcome, hint: ServerHint | None) -> EndOfCall:
        if outcome is Outcome.EXHAUSTED or (hint is not None and hint.exhausted):
            return "lost"
        if outcome not in (Outcome.THROTTLED, Outcome.OVERLOADED):
            return "unproven" if outcome in UNANSWERED else "accepted"
        if hint is not None and hint.names_parallel_cap:
            return "capped"
        if self._follows is None:
            return "lost"  # the user's own policy answers it
        return "refused" if outcome is Outcome.THROTTLED else "overloaded"
