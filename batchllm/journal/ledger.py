"""Decisions about items that the journal may know: run them, take them over, or refuse.

Pure: the table of ``docs/design/journal.md`` as a function, and the counts that a run reports.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum, IntEnum
from typing import NamedTuple

from attrs import define, field, frozen

from batchllm.journal.settings import OnChanged

__all__ = ["Choice", "Known", "Ledger", "Reason", "State", "Verdict", "decide"]


class State(IntEnum):
    """The state of an item in the file; its numbers never change."""

    DONE = 1
    FAILED = 2
    BLOCKED = 3
    """Failed for a reason that lies outside of the item: the key, the account, the model's name."""


class Choice(Enum):
    """A decision about one item."""

    RUN = "run"
    TAKE_OVER = "take over"
    REFUSE = "refuse"


class Reason(Enum):
    """The reason of a decision."""

    NEW = "new"
    MAYBE_BILLED = "a call of it was in flight when an earlier run ended"
    FINISHED = "finished"
    FAILED_BEFORE = "failed before"
    BLOCKED_BEFORE = "failed before, for a reason outside of the item"
    RETRY_FAILED = "failed before, and failures are to run again"
    PROMPT_CHANGED = "another prompt"
    STRATEGY_CHANGED = "another strategy"


class Known(NamedTuple):
    """The row of a finished item, as far as a decision needs it.

    Attributes:
        state: How it ended.
        prompt: The digest of its prompt, ``None`` if that had no canonical form.
        strategy: The digest of its strategy's identity.
        pending: Whether its post-processor is still to be called.
    """

    state: State
    prompt: bytes | None
    strategy: bytes
    pending: bool = False


@frozen
class Verdict:
    """A choice with its reason."""

    choice: Choice
    reason: Reason


_NEW = Verdict(Choice.RUN, Reason.NEW)
_MAYBE_BILLED = Verdict(Choice.RUN, Reason.MAYBE_BILLED)
_BLOCKED = Verdict(Choice.RUN, Reason.BLOCKED_BEFORE)
_PROMPT_CHANGED = Verdict(Choice.RUN, Reason.PROMPT_CHANGED)
_RERUN = Verdict(Choice.RUN, Reason.STRATEGY_CHANGED)
_REFUSED = Verdict(Choice.REFUSE, Reason.STRATEGY_CHANGED)
_RETRY = Verdict(Choice.RUN, Reason.RETRY_FAILED)
_FINISHED = Verdict(Choice.TAKE_OVER, Reason.FINISHED)
_FAILED_BEFORE = Verdict(Choice.TAKE_OVER, Reason.FAILED_BEFORE)


def decide(
    known: Known | None,
    prompt: bytes | None,
    strategy: bytes,
    *,
    on_changed: OnChanged = "refuse",
    retry_failed: bool = False,
    maybe_billed: bool = False,
) -> Verdict:
    """Decide about one item.

    Args:
        known: What the journal has of it.
        prompt: The digest of the prompt that it comes with.
        strategy: The digest of the strategy that it comes with.
        on_changed: What to do with an answer of another strategy.
        retry_failed: Whether failures run again.
        maybe_billed: Whether a call of it has begun and never ended in an earlier run.
    """
    if known is None:
        return _MAYBE_BILLED if maybe_billed else _NEW
    if known.prompt != prompt:
        return _PROMPT_CHANGED
    if known.state is State.BLOCKED:
        return _BLOCKED
    if known.strategy != strategy and on_changed != "keep":
        if on_changed == "rerun" or known.state is State.FAILED:
            return _RERUN
        return _REFUSED
    if known.state is State.DONE:
        return _FINISHED
    return _RETRY if retry_failed else _FAILED_BEFORE


@define(eq=False)
class Ledger:
    """One run's decisions, counted.

    Args:
        on_changed: As for ``decide``.
        retry_failed: As for ``decide``.

    Attributes:
        counts: How often each reason came.
    """

    on_changed: OnChanged = "refuse"
    retry_failed: bool = False
    counts: Counter[Reason] = field(factory=Counter, init=False)

    def decide(
        self,
        known: Known | None,
        prompt: bytes | None,
        strategy: bytes,
        *,
        maybe_billed: bool = False,
    ) -> Verdict:
        """Decide about one item, and count it."""
        verdict = decide(
            known,
            prompt,
            strategy,
            on_changed=self.on_changed,
            retry_failed=self.retry_failed,
            maybe_billed=maybe_billed,
        )
        self.counts[verdict.reason] += 1
        return verdict

    def pass_over(self, count: int) -> None:
        """Count items that were found finished without a closer look."""
        self.counts[Reason.FINISHED] += count

    @property
    def taken_over(self) -> int:
        """Return how many items were taken over from earlier runs."""
        return self.counts[Reason.FINISHED] + self.counts[Reason.FAILED_BEFORE]
