"""The price of a model: US dollars per million tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import Attribute, evolve, field, frozen

from batchllm.core.arguments import explain_arguments
from batchllm.core.checks import number, refuse
from batchllm.core.usage import TokenUsage

__all__ = ["Price"]

_MILLION: Final = 1_000_000
_rate = number(least=0)
_rate_or_none = number(least=0, none="for that of other tokens")


def _ascending(instance: Any, attribute: Attribute[Any], above: Any) -> None:
    remedy = "pairs of a number of input tokens and a Price, the smaller numbers first"
    if not isinstance(above, tuple):
        refuse(instance, attribute, above, remedy)
    last = 0
    for pair in above:
        is_pair = isinstance(pair, tuple) and len(pair) == 2
        if not is_pair or not isinstance(pair[0], int) or not isinstance(pair[1], Price):
            refuse(instance, attribute, pair, remedy)
        if pair[0] <= last:
            refuse(instance, attribute, above, remedy)
        last = pair[0]


def _as_pairs(above: Any) -> Any:
    if isinstance(above, Mapping):
        return tuple(sorted(above.items()))
    return tuple(above) if isinstance(above, list) else above


@explain_arguments()
@frozen(kw_only=True)
class Price:
    """US dollars per million tokens of one model.

    Example::

        Price(input=0.25, output=2.00, cached_input=0.025)

    Args:
        input: Tokens of the prompt.
        output: Tokens of the answer, what was thought included.
        cached_input: Tokens of the prompt that came from the provider's cache; ``None`` as *input*.
        cache_write: Tokens of the prompt that were written to it; ``None`` as *input*.
        reasoning: Tokens of the answer that were thought and not said; ``None`` as *output*.
        request: US dollars for each call, beside its tokens.
        above: Prices of calls with a long prompt, as pairs: ``((200_000, Price(…)),)`` for those
            with more than 200,000 input tokens, all of whose tokens have that price.

    Raises:
        ConfigError: A price is no number of at least 0.
    """

    input: float = field(validator=_rate)
    output: float = field(validator=_rate)
    cached_input: float | None = field(default=None, validator=_rate_or_none)
    cache_write: float | None = field(default=None, validator=_rate_or_none)
    reasoning: float | None = field(default=None, validator=_rate_or_none)
    request: float = field(default=0.0, validator=_rate)
    above: tuple[tuple[int, Price], ...] = field(
        default=(), converter=_as_pairs, validator=_ascending
    )

    def cost(self, usage: TokenUsage | None) -> float | None:
        """Return the US dollars of one call; ``None`` if its tokens are not known.

        Args:
            usage: Of that call alone: a long prompt may have another price.
        """
        counts = _counts_of(usage)
        if usage is None or counts is None:
            return None
        given, answered = counts
        own = self._for(given)
        cached = min(given, usage.get("cached_input_tokens", 0))
        written = min(given - cached, usage.get("cache_write_tokens", 0))
        thought = min(answered, usage.get("reasoning_tokens", 0))
        if own.reasoning is None:
            thought = 0
        dollars = (given - cached - written) * own.input + (answered - thought) * own.output
        if cached:
            dollars += cached * (own.input if own.cached_input is None else own.cached_input)
        if written:
            dollars += written * (own.input if own.cache_write is None else own.cache_write)
        return (dollars + thought * (own.reasoning or 0.0)) / _MILLION + own.request

    def worst(self, input_tokens: int, output_tokens: int) -> float:
        """Return the US dollars that a call of at most so many tokens can cost.

        Args:
            input_tokens: The most that its prompt can have.
            output_tokens: The most that its answer can have.
        """
        reached = [self, *(price for start, price in self.above if input_tokens > start)]
        return max(price._worst(input_tokens, output_tokens) for price in reached)

    def worst_of_several(
        self, calls: int, longest: int, input_tokens: int, output_tokens: int
    ) -> float:
        """Return the US dollars that several calls together can cost.

        Args:
            calls: How many.
            longest: The most that the prompt of one of them can have.
            input_tokens: The most that all their prompts can have.
            output_tokens: The most that all their answers can have.
        """
        reached = [self, *(price for start, price in self.above if longest > start)]
        return max(
            price._worst(input_tokens, output_tokens) + (calls - 1) * price.request
            for price in reached
        )

    def scaled(self, share: float) -> Price:
        """Return *share* of this price, such as ``0.5`` for a provider's batches.

        Args:
            share: A number of at least 0.
        """
        return evolve(
            self,
            input=share * self.input,
            output=share * self.output,
            cached_input=None if self.cached_input is None else share * self.cached_input,
            cache_write=None if self.cache_write is None else share * self.cache_write,
            reasoning=None if self.reasoning is None else share * self.reasoning,
            request=share * self.request,
            above=tuple((start, price.scaled(share)) for start, price in self.above),
        )

    def _for(self, input_tokens: int) -> Price:
        """Return the price of a call with so many input tokens."""
        own = self
        for start, price in self.above:
            if input_tokens > start:
                own = price
        return own

    def _worst(self, input_tokens: int, output_tokens: int) -> float:
        # Any of them may be written to a cache, which can be the dearest; or read from one, which
        # no provider makes dearer than other input, but a table of the user's own may.
        dearest = max(self.input, self.cached_input or 0.0, self.cache_write or 0.0)
        said = max(self.output, self.reasoning or 0.0)
        return (input_tokens * dearest + output_tokens * said) / _MILLION + self.request


def _counts_of(usage: TokenUsage | None) -> tuple[int, int] | None:
    """Return the tokens in and out; what is missing follows from the total, if that is there."""
    if not usage:
        return None
    given, answered = usage.get("input_tokens"), usage.get("output_tokens")
    if given is not None and answered is not None:
        return given, answered
    total = usage.get("total_tokens")
    if given is not None:  # of embeddings, which have no output
        return given, max(0, (total or given) - given)
    if answered is not None and total is not None:
        return max(0, total - answered), answered
    return None
