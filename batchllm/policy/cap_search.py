"""A cap on calls in flight that shows in nothing but refusals.

A quota refuses at any number of calls in flight, a cap always at the same one. So when refusals
coincide at one number it is tested by holding it, without a pace, for some answers.
"""

from __future__ import annotations

from math import inf
from typing import Final

from attrs import define, field

__all__ = ["CapSearch"]

_LEAST: Final = 3
"""Calls below which any slow pace looks like a cap."""
_FIRST_MOST: Final = 32
"""The most that one spent episode at the very start may suggest: a wrong test costs a round
trip's worth of refusals, and a real cap of 24 is so found in one pause instead of three."""
_COINCIDENCES: Final = 3
_SAME: Final = 0.05
_TEST: Final = 20
"""Answers at the held number that make it believed."""
_REST: Final = 1_000
"""Answers between two tries of a higher number at most."""
_STEPS: Final = (1, 2, 4)
"""Calls beyond the cap that are tried one after the other. A call is on its way back while the
server has room again, so that one or three too many may pass; a fourth shows that it is no cap."""
_GAPS: Final = 8
"""Sends that a test spreads over the time to a refusal, so that a wrong one costs about four."""
_PER_ANSWER: Final = 2
"""Calls that each answer lets go at once in a test, so that those in flight double with each round
of answers: a server that takes two seconds to refuse would be asked twice a second by the gap."""


@define(eq=False)
class CapSearch:
    """Finds and keeps a cap. Live state.

    Attributes:
        held: The number of calls in flight that is tested or kept; ``None`` while there is none.
    """

    held: int | None = field(default=None, init=False)
    _tries: int = field(default=0, init=False)
    _trying: bool = field(default=False, init=False)
    _answers: int = field(default=0, init=False)
    _rest: int = field(default=_TEST, init=False)
    _spare: int = field(default=0, init=False)
    _tried: int = field(default=0, init=False)
    _due: int = field(default=0, init=False)
    _believed: bool = field(default=False, init=False)
    _seen: list[int] = field(factory=list[int], init=False)
    most_beside: int = field(default=0, init=False)
    _falls: int = field(default=0, init=False)

    @property
    def limit(self) -> float:
        """Calls that may be in flight."""
        return inf if self.held is None else self.held + self._beyond

    @property
    def believed(self) -> int | None:
        """The cap, if it has proven true."""
        return self.held if self._believed else None

    @property
    def trying(self) -> bool:
        """Return whether more calls are tried than are held."""
        return self._trying

    @property
    def _beyond(self) -> int:
        return _STEPS[self._tries] if self._trying else 0

    @property
    def _needed(self) -> int:
        return _COINCIDENCES if not self._falls else 2 + 4**self._falls

    def gap(self, patience: float) -> float:
        """Return the seconds between two sends of a test that has just begun."""
        free = self.held is None or self._believed or self._due > 0
        return 0.0 if free else patience / _GAPS

    def on_send(self) -> None:
        """Note a start while a number is held."""
        if self._due:
            self._due -= 1

    def on_episode(self, beside: int, *, first: bool, spent: bool) -> bool:
        """Note the number of calls *beside* a refused one; returns whether it is tested now."""
        seen, needed = self._seen, self._needed
        most, self.most_beside = self.most_beside, 0
        if most >= beside + max(_STEPS[-1] - 1, _SAME * beside):
            seen.clear()  # more were taken at a time, so that this was no cap's refusal
            return False
        seen.append(beside)
        # Among more episodes than these a quota, too, would refuse at like numbers now and then.
        del seen[: -needed - 1]
        if beside < _LEAST:
            return False
        same = sum(abs(each - beside) <= max(1, _SAME * beside) for each in seen)
        if same < needed and not (first and spent and beside <= _FIRST_MOST):
            return False
        self.held, self._tries, self._trying = beside, 0, False
        self._answers, self._rest, self._believed = 0, _TEST, False
        self._due = 0
        return True

    def on_answer(self, beside: int) -> bool:
        """Note an answer; returns whether it shows that there is no cap.

        So many answers at one number make it believed, and a higher one worth a try.

        Args:
            beside: Calls that were in flight when the answered one was sent, and not refused.
        """
        if beside > self.most_beside:
            self.most_beside = beside
        if self.held is None:
            return False
        self._answers += 1
        self._due += _PER_ANSWER
        if self._trying and self._answers >= _TEST:
            self.held += _STEPS[self._tries]
            self._tries += 1
            self._trying, self._answers, self._rest = False, 0, _TEST
            if self._tries == len(_STEPS):
                self._fall()
                return True
        elif not self._believed and self._answers >= _TEST:
            self._believed = True
        elif self._spare and not self._trying and self._answers >= _TEST:
            self._spare = 0  # what was tried has long been answered
        elif self._believed and not self._trying and self._answers >= self._rest:
            self._trying, self._answers = True, 0
            self._spare = self._beyond + 2
        return False

    def on_refused(self, mark: int, sent: int) -> bool:
        """Note a refusal; returns whether the cap stands all the same.

        Calls of ours beyond the cap tried a higher number, and one of them was refused: whichever
        came last, since requests overtake each other on their way. A server that lets calls wait
        refuses others, too, that were sent until this was known.

        Args:
            mark: The number of the refused call.
            sent: Calls that were sent until now.
        """
        if self.held is None:
            return False
        if self._spare > 0 or mark < self._tried:
            self._spare = max(0, self._spare - 1)
            if self._trying:
                self._tried = sent
                self._trying, self._tries, self._answers = False, 0, 0
                self._rest = min(_REST, 2 * self._rest)
                self._falls = 0
            return True
        self._fall()
        return False

    def _fall(self) -> None:
        self._falls = min(3, self._falls + 1)
        self.held, self._trying, self._believed = None, False, False
        self._seen.clear()
