"""An estimate of a call's tokens: bytes, calibrated by what the provider reports back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import ceil, exp, log
from typing import Any, Final, cast

from attrs import define, field

from batchllm.core import CallCost

__all__ = ["TokenEstimator", "prompt_bytes", "strict_input_bound"]

_BYTES_PER_TOKEN: Final = 4.0
_MESSAGE_OVERHEAD: Final = 16
_UNKNOWN_OUTPUT: Final = 1024
_KEPT: Final = 256
"""Kinds of call that are remembered; the one that was reported longest ago makes room."""


def strict_input_bound(text_bytes: int, messages: int = 1) -> int:
    """Tokens that *text_bytes* bytes of UTF-8 in *messages* messages never exceed.

    A token of a byte-level vocabulary covers at least one byte.
    """
    return text_bytes + _MESSAGE_OVERHEAD * messages


def prompt_bytes(prompt: Any) -> int:
    """The bytes of text in a prompt: a text, messages or content parts; else its ``str()``."""
    if isinstance(prompt, str):
        return len(prompt) if prompt.isascii() else len(prompt.encode("utf-8", "replace"))
    if isinstance(prompt, Mapping):
        message = cast("Mapping[str, Any]", prompt)
        said = message.get("content") or message.get("text")
        return prompt_bytes(said) if said else 0
    if isinstance(prompt, (list, tuple)):
        return sum(map(prompt_bytes, cast("list[Any]", prompt)))
    return len(str(prompt))


@define(eq=False)
class _Quantile:
    """A running mean, and a level that only about one value in a hundred exceeds.

    The level moves by steps in proportion 99 : 1, so it rests where that many lie below it.
    Values are logarithms, so a step is a share.
    """

    mean: float
    level: float
    seen: int = 0

    def add(self, value: float) -> None:
        self.seen += 1
        self.mean += (value - self.mean) * max(0.02, 1 / self.seen)
        step = max(0.05, 1 / self.seen)
        self.level += 0.99 * step if value > self.level else -0.01 * step


@define(eq=False)
class _Kind:
    ratio: _Quantile
    output: _Quantile


@define(eq=False)
class TokenEstimator:
    """Estimates what calls of a kind will cost; one kind is one model with one template.

    Attributes:
        strict: Reserve what a call can take at most, instead of what 99 in 100 stay within.
    """

    strict: bool = False
    _kinds: dict[Hashable, _Kind] = field(factory=dict, init=False)

    def estimate(
        self, kind: Hashable, text_bytes: int, max_tokens: int | None = None, messages: int = 1
    ) -> CallCost:
        """Return what to reserve for a prompt of *text_bytes* bytes of UTF-8.

        Args:
            kind: What the calls that are alike have in common.
            max_tokens: The bound on output as sent, where one is sent.
            messages: How many messages the prompt consists of.
        """
        bound = strict_input_bound(text_bytes, messages)
        known = self._kinds.get(kind)
        if self.strict:
            return CallCost(1, bound, _UNKNOWN_OUTPUT if max_tokens is None else max_tokens)
        if known is None:
            given = ceil(text_bytes / _BYTES_PER_TOKEN) + _MESSAGE_OVERHEAD * messages
            return CallCost(1, min(bound, given), _output(_UNKNOWN_OUTPUT, max_tokens))
        given = min(bound, ceil(exp(known.ratio.level) * max(1, text_bytes)))
        return CallCost(1, given, _output(ceil(exp(known.output.level)), max_tokens))

    def expected(self, kind: Hashable, text_bytes: int) -> CallCost:
        """Return what a call takes on average, for forecasts; not a bound."""
        known = self._kinds.get(kind)
        if known is None:
            return CallCost(1, ceil(text_bytes / _BYTES_PER_TOKEN), 0)
        given = round(exp(known.ratio.mean) * max(1, text_bytes))
        return CallCost(1, given, round(exp(known.output.mean)))

    def learn(
        self, kind: Hashable, text_bytes: int, input_tokens: int | None, output_tokens: int | None
    ) -> None:
        """Take in what a provider reported; missing or senseless counts teach nothing."""
        if input_tokens is None or output_tokens is None or input_tokens <= 0 or output_tokens < 0:
            return
        ratio, output = log(input_tokens / max(1, text_bytes)), log(max(1, output_tokens))
        known = self._kinds.get(kind)
        if known is None:
            known = _Kind(_Quantile(ratio, ratio), _Quantile(output, output))
            while len(self._kinds) >= _KEPT:
                del self._kinds[next(iter(self._kinds))]
            self._kinds[kind] = known
        elif len(self._kinds) > 1:  # the one that was used last goes last
            self._kinds[kind] = self._kinds.pop(kind)
        known.ratio.add(ratio)
        known.output.add(output)


def _output(learned: int, bound: int | None) -> int:
    return learned if bound is None else min(learned, bound)
