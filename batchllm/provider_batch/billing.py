"""The price of what batches do: half for each token, read from the lines of their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from attrs import define, field

from batchllm.core import Price, TokenUsage, dollars, normalize_usage
from batchllm.provider_batch.states import Chunk, EndKind
from batchllm.provider_batch.verdicts import LineKind, LineOutcome
from batchllm.providers import gemini_usage

__all__ = ["HALF", "Bill", "LineBound", "cost_in_batch", "paid_of", "paid_twice_in_words"]

HALF: Final = 0.5
"""The share of the price online that each of the providers here asks for in a batch."""


class LineBound(NamedTuple):
    """The most tokens that one line may take.

    Attributes:
        input: Of its request.
        output: Of its answer; ``None`` if nothing in the request bounds it.
    """

    input: int
    output: int | None


def cost_in_batch(
    price: Callable[[TokenUsage], float | None], usage: TokenUsage, *, stacks: bool
) -> float | None:
    """Return the US dollars of one answer that came with a batch; ``None`` without a price.

    With most providers a cached token has the price of the cache or that of a batch, whichever is
    lower, and never both reductions.

    Args:
        price: Returns what tokens cost online.
        usage: The tokens.
        stacks: Whether the provider takes the price of a cached token down by half, too.
    """
    whole = price(usage)
    if whole is None:
        return None
    cached = usage.get("cached_input_tokens", 0)
    if stacks or not cached:
        return HALF * whole
    plain = usage.get("input_tokens", 0) - cached
    rest = price({**usage, "cached_input_tokens": 0, "input_tokens": plain})
    fresh = price({**usage, "cached_input_tokens": 0})
    if rest is None or fresh is None:
        return None
    return min(whole - rest + HALF * rest, HALF * fresh)


@define(eq=False)
class Bill:
    """The bill of one batch, as its results are read.

    Args:
        price: Of its model; ``None`` if it is not known.
        stacks: As for ``cost_in_batch``.

    Attributes:
        answered: Lines that have an answer, or a row that says nothing of what became of them.
        counted: Those of them that report what they took.
        inputs: Tokens of their prompts.
        outputs: Tokens of each answer.
        tokens: In and out together.
        cost: US dollars, as far as the price is known.
    """

    price: Price | None
    stacks: bool
    answered: int = field(default=0, init=False)
    counted: int = field(default=0, init=False)
    inputs: int = field(default=0, init=False)
    outputs: list[int] = field(factory=list, init=False)
    tokens: int = field(default=0, init=False)
    cost: float = field(default=0.0, init=False)

    def add(self, outcome: LineOutcome) -> None:
        """Add one line; errors, and what the batch never came to, are free."""
        if outcome.kind not in (LineKind.OK, LineKind.UNKNOWN):
            return
        self.answered += 1
        usage = _usage_in(outcome.body)
        if usage is None:
            return
        self.counted += 1
        self.inputs += usage.get("input_tokens", 0)
        self.outputs.append(usage.get("output_tokens", 0))
        self.tokens += usage.get("total_tokens", 0)
        if self.price is not None:
            self.cost += cost_in_batch(self.price.cost, usage, stacks=self.stacks) or 0.0


def paid_of(chunk: Chunk, bill: Bill, twice: Bill, missing: int) -> dict[str, Any]:
    """Return what a batch took; for answers that do not say, as much as was reserved for them.

    Args:
        chunk: Of the batch.
        bill: Of all its answers.
        twice: Of those whose items were called for online meanwhile.
        missing: Lines that the results say nothing of.
    """
    # What a batch that expired or was cancelled says nothing of, it never came to.
    lost = missing if chunk.end is EndKind.DONE else 0
    silent = min(1.0, (bill.answered - bill.counted + lost) / chunk.lines)
    return {
        "paid_tokens": bill.tokens + round(silent * chunk.reserved_tokens),
        "paid_cost": bill.cost + silent * chunk.reserved_cost,
        "twice": twice.answered,
        "twice_cost": twice.cost,
    }


def paid_twice_in_words(chunk: Chunk) -> str:
    """Say what a late batch has done for items that were called for online meanwhile."""
    cost = f", {dollars(chunk.twice_cost)} for its part" if chunk.twice_cost else ""
    return (
        f"{chunk.twice:,} requests are paid for twice: batch {chunk.batch_id} has answered them "
        f"after their items were called for online{cost}; each has one result"
    )


def _usage_in(body: Any) -> TokenUsage | None:
    """Return the token counts of an answer, which stand in one of three places."""
    if not isinstance(body, Mapping):
        return None
    if "usageMetadata" in body:
        return gemini_usage(body)
    found = body.get("usage")
    if found is None and isinstance(body.get("x_groq"), Mapping):
        found = body["x_groq"].get("usage")
    return normalize_usage(dict(found)) if isinstance(found, Mapping) else None
