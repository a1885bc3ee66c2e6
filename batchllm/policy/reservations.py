"""Refusals for tokens that other calls had only reserved.

A gateway such as LiteLLM reserves the most that a call may take, refuses what does not fit beside
that, and asks for a minute whatever is under way; what was not used is free again as soon as an
answer has come. So the end of such a call says more than the wait, and the refusal shows no pace.
"""

from __future__ import annotations

from typing import Final

from attrs import define, evolve, field

from batchllm.core import LimitHint, Outcome, ServerHint
from batchllm.policy.adaptive import AdaptivePace
from batchllm.policy.admission import Admission
from batchllm.policy.events import Send

__all__ = ["Reservations"]

_LATE: Final = 2.0
"""Seconds after an answer within which a busy gateway has not counted it yet. A window that is
spent for good is tried once or twice in that time, which is a refusal in fifty calls at most."""


@define(eq=False)
class Reservations:
    """Finds the refusals of one scope that the ends of other calls make void. Live state.

    Args:
        _admission: What replies say is left.
        _adaptive: The pace, and its present episode.

    Attributes:
        named: The limits for which calls of this episode were refused, while answers may explain
            that.
    """

    _admission: Admission
    _adaptive: AdaptivePace
    named: set[LimitHint] = field(factory=set[LimitHint], init=False)

    def on_result(
        self, now: float, send: Send, outcome: Outcome, hint: ServerHint | None
    ) -> ServerHint | None:
        """Return what a reply says without a wait that is over already.

        Args:
            now: When it came.
            send: Its call.
            outcome: The end of it.
            hint: What the server reported with it, which was observed before.
        """
        if outcome in (Outcome.THROTTLED, Outcome.OVERLOADED):
            return hint if hint is None else self._refused(send, hint)
        if self.named and outcome is Outcome.OK:
            self._answered(now)
        return hint

    def _refused(self, send: Send, hint: ServerHint) -> ServerHint:
        if self._adaptive.cooldown.free:
            self.named.clear()  # of an episode that is over
        if self._admission.gave_back(hint, send.sent_at - _LATE):
            return evolve(hint, wait=None)
        self.named.update(each for each in hint.limits if each.remaining == 0)
        return hint

    def _answered(self, now: float) -> None:
        """Show the refusals of this episode to what an answer has made known since."""
        named = ServerHint(limits=tuple(self.named))
        if self._admission.explains(named):
            self.named.clear()
            self._adaptive.explain(now)
