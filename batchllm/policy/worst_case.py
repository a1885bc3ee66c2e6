"""The most that a call may take, for budgets: an upper bound where there is one.

A prompt has no more tokens than bytes, and what is sent round it (a system instruction, a schema,
pictures) shows in the answers. An answer has at most ``max_tokens``; without that bound, twice what
99 in 100 answers of its kind have had is taken for it, and until 50 of them are known a number
that few answers exceed, with few calls at a time.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Sized
from typing import Any, Final, cast

from attrs import define, field, frozen

from batchllm.core import CallCost, TokenUsage
from batchllm.policy.tokens import prompt_bytes, strict_input_bound

__all__ = ["FIRST_ANSWERS", "FIRST_IN_FLIGHT", "Bound", "WorstCases"]

FIRST_ANSWERS: Final = 50
"""Answers that show how long those of a kind are: their 99th percentile is their longest then."""
FIRST_IN_FLIGHT: Final = 10
"""Calls at a time until then, so that a surprise comes ten times at most."""
_UNKNOWN_OUTPUT: Final = 4_096
"""Tokens: the usual bound of providers that set one where the caller gives none."""
_QUANTILE: Final = 0.99
_MARGIN: Final = 2
"""Times the 99th percentile. Of lognormal lengths it is exceeded by one answer in 800 (σ = 1, where
a few are very long) to one in 10,000 (σ = 0.5)."""
_REMEMBERED: Final = 1_000
_KINDS: Final = 256


@frozen
class Bound:
    """The most tokens that one call may take.

    Attributes:
        input_tokens: Of its prompt.
        output_tokens: Of its answer.
        sure: If the answer cannot be longer, since its request bounds it.
    """

    input_tokens: int
    output_tokens: int
    sure: bool

    @property
    def tokens(self) -> int:
        """Return both together."""
        return self.input_tokens + self.output_tokens


@define(eq=False)
class _Kind:
    """The answers of one kind so far.

    Attributes:
        around: The most input tokens beyond those that the prompt can have.
        outputs: The lengths of the last answers.
        longest: The longest of all.
    """

    answers: int = 0
    around: int = 0
    longest: int = 0
    outputs: deque[int] = field(factory=lambda: deque(maxlen=_REMEMBERED))
    _level: int = 0

    def add(self, around: int, output: int) -> None:
        self.answers += 1
        self.around = max(self.around, around)
        self.longest = max(self.longest, output)
        self.outputs.append(output)
        if self.answers % FIRST_ANSWERS == 0:
            ranked = sorted(self.outputs)
            self._level = ranked[int(_QUANTILE * (len(ranked) - 1))]

    @property
    def usual_longest(self) -> int:
        return _MARGIN * self._level if self.answers >= FIRST_ANSWERS else _UNKNOWN_OUTPUT


@define(eq=False)
class WorstCases:
    """Bounds what calls may take, by kind: one model with one template is one kind."""

    _kinds: OrderedDict[Hashable, _Kind] = field(factory=OrderedDict, init=False)

    @property
    def longest(self) -> int:
        """Return the tokens of the longest answer of all kinds."""
        return max((kind.longest for kind in self._kinds.values()), default=0)

    def bound(self, kind: Hashable, prompt: Any, estimate: CallCost | None) -> Bound:
        """Return the most that a call with *prompt* may take.

        Args:
            kind: What calls that are alike have in common.
            prompt: A text, messages, content parts or texts.
            estimate: The strategy's own, whose output is the bound that its requests have.
        """
        known = self._kinds.get(kind) or _Kind()
        given = _most_input(prompt) + known.around
        if estimate is not None:
            given = max(given, estimate.input_tokens)
            return Bound(given, estimate.output_tokens, sure=True)
        return Bound(given, known.usual_longest, sure=False)

    def most_in_flight(self, kind: Hashable, bound: Bound) -> int | None:
        """Return how many calls of *kind* may be under way at once; ``None`` for any number.

        The first answer shows what is sent round a prompt, and the first 50 how long answers are.
        """
        known = self._kinds.get(kind)
        answers = 0 if known is None else known.answers
        return FIRST_IN_FLIGHT if answers < (1 if bound.sure else FIRST_ANSWERS) else None

    def learn(self, kind: Hashable, prompt: Any, usage: TokenUsage | None) -> None:
        """Take in what an answered call took; unknown counts teach nothing."""
        given = None if usage is None else usage.get("input_tokens")
        if usage is None or given is None:
            return
        around = max(0, given - _most_input(prompt))
        rest = max(0, usage.get("total_tokens", 0) - given)
        self.learn_lengths(kind, around, [usage.get("output_tokens", rest)])

    def learn_lengths(self, kind: Hashable, around: int, outputs: Iterable[int]) -> None:
        """Take in how long answers were, and what was sent round their prompts."""
        known = self._kinds.pop(kind, None) or _Kind()
        while len(self._kinds) >= _KINDS:
            self._kinds.popitem(last=False)
        self._kinds[kind] = known
        for output in outputs:
            known.add(around, output)

    def usual_longest(self, kind: Hashable) -> int:
        """Return the tokens that are taken for the longest answer where nothing bounds it."""
        return (self._kinds.get(kind) or _Kind()).usual_longest


def _most_input(prompt: Any) -> int:
    messages = len(cast("Sized", prompt)) if isinstance(prompt, list | tuple) else 1
    return strict_input_bound(prompt_bytes(prompt), messages)
