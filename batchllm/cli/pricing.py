"""Prices on the command line: one that is missing, and how far a budget goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchllm.cli.exits import UsageError
from batchllm.core import LLMCallStrategy, ProcessorConfig, dollars
from batchllm.policy import PriceBook

__all__ = ["check_prices", "how_far", "no_price"]


def check_prices(config: ProcessorConfig, strategies: Sequence[LLMCallStrategy[Any]]) -> None:
    """Pass if the prices of all models are known, or no budget needs them.

    Raises:
        UsageError: One is not known, and there is a ``--max-cost``.
    """
    if config.budget is None or config.budget.max_cost is None:
        return
    book = PriceBook(config.prices)
    missing = [name for one in strategies for name in book.missing(one)]
    if missing:
        msg = f"--max-cost needs a price, and none is known for {', '.join(dict.fromkeys(missing))}"
        raise UsageError(f"{msg}; {_remedy(book, missing[0])}")


def no_price(book: PriceBook, name: str) -> str:
    """Return the words for a cost that cannot be said."""
    return f"no price is known for {name}; {_remedy(book, name)}"


def _remedy(book: PriceBook, name: str) -> str:
    table = f'["{name}"], input = …, output = … in US dollars per million tokens'
    if book.has_library:
        return f"give --prices FILE, a .toml file with {table}"
    return f'pip install "batchllm[prices]" brings a list; or give --prices FILE with {table}'


def how_far(budget: float, cost: float, items: int, *, whole: bool) -> str:
    """Return how far a budget goes in a run whose cost is estimated.

    Args:
        budget: US dollars.
        cost: US dollars that the run is estimated to cost.
        items: Prompts.
        whole: Whether *cost* counts the answers, too.
    """
    cap = dollars(budget)
    if cost <= budget:
        return f"{cap}, which is enough" if whole else f"{cap}, and the answers are to be paid, too"
    most = int(items * budget / cost)
    return f"{cap}, which ends the run after about {most:,} of {items:,} prompts"
