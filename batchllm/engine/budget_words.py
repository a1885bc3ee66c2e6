"""Sentences about budgets: that one is spent, that one cannot be held without a price."""

from __future__ import annotations

from batchllm.core import dollars
from batchllm.policy import BudgetLedger, Need, PriceBook

__all__ = ["budget_spent", "no_price"]


def budget_spent(ledger: BudgetLedger, need: Need, *, sure: bool, what: str = "call") -> str:
    """Say that a budget has no room for what comes next.

    Args:
        ledger: Its books.
        need: The most that the next may take.
        sure: If that is a bound.
        what: That comes next.
    """
    budget = ledger.budget
    if budget.max_cost is not None and not ledger.fits(Need(0, need.cost)):
        cap, spent = dollars(budget.max_cost), dollars(ledger.cost)
        unsure = dollars(ledger.uncertain_cost) if ledger.uncertain_cost else ""
        name, most = "max_cost", dollars(need.cost or 0.0)
    else:
        cap, spent = f"{budget.max_tokens_total:,} tokens", f"{ledger.tokens:,}"
        unsure = f"{ledger.uncertain_tokens:,}" if ledger.uncertain_tokens else ""
        name, most = "max_tokens_total", f"{need.tokens:,} tokens"
    of = f", {unsure} of it for calls that may not be billed," if unsure else ""
    text = (
        f"the budget of {cap} is spent: {spent}{of} so far, and the next {what} may take {most}; "
        f"give a larger {name} to spend more"
    )
    if not sure:
        text += ", or max_tokens, which bounds what an answer may take"
    return text


def no_price(prices: PriceBook, names: list[str], owner: str = "the budget has a max_cost") -> str:
    """Say that money cannot be counted, since models have no price.

    Args:
        prices: What is known.
        names: Of the models.
        owner: That counts money.
    """
    return (
        f"{owner}, and no price is known for {', '.join(dict.fromkeys(names))}; "
        f"{prices.remedy(names)}"
    )
