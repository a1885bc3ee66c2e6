"""A call within the budget of its run, and the copies of it that are made in reserve.

Each copy reserves the most that it may take, before it waits for its permit, and settles what it
took, so that the calls of a race keep within the budget together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from batchllm.core import LLMCallStrategy, StrategyError
from batchllm.engine.bills import Wanted
from batchllm.engine.failures import Failure, unusable
from batchllm.engine.hedging import CallEnded, Hedging
from batchllm.engine.item import ItemRun
from batchllm.engine.spending import Spending
from batchllm.gate import Gate

__all__ = ["Leaf", "with_copies", "within_budget"]


class Leaf(Protocol):
    """A call of a strategy that has a quota scope; it may be copied.

    Attributes:
        item: Whose call it is.
        strategy: What is called.
        prompt: What it is asked.
        cut_off: Whether it was cancelled in flight.
    """

    item: ItemRun
    strategy: LLMCallStrategy[Any]
    prompt: Any
    cut_off: bool

    async def as_leaf(self, gate: Gate) -> CallEnded:
        """Make it, with a permit of *gate*."""
        ...

    def copy(self) -> Leaf:
        """Return another call of the same, with nothing of its course so far."""
        ...

    def judge(self, error: BaseException) -> Failure:
        """Classify what it raised."""
        ...


async def within_budget(leaf: Leaf, gate: Gate, spending: Spending) -> CallEnded:
    """Make the call once the budget has room for it.

    Args:
        leaf: The call.
        gate: Of its scope.
        spending: The budget.
    """
    wanted = _want(leaf, spending)
    if isinstance(wanted, Failure):
        return wanted
    return await _reserved(leaf, gate, spending, wanted)


async def with_copies(
    leaf: Leaf, gate: Gate, hedging: Hedging, spending: Spending | None
) -> CallEnded:
    """Make the call, and further copies of it while it takes very long.

    Args:
        leaf: The call.
        gate: Of its scope.
        hedging: Says when, and ends the race.
        spending: The budget, if there is one; a copy is made only if it has room for it.
    """
    make: Callable[[Leaf], Awaitable[CallEnded]] = partial(_admitted, gate)
    fits = None
    if spending is not None:
        # Asked once: an estimate that raises later would end the whole run, in the middle of a
        # race, instead of failing its item.
        wanted = _want(leaf, spending)
        if isinstance(wanted, Failure):
            return wanted
        make = partial(_reserved, gate=gate, spending=spending, wanted=wanted)
        fits = partial(spending.has_room, wanted)

    async def again() -> CallEnded:
        copy = leaf.copy()
        try:
            return await make(copy)
        except BaseException:
            leaf.cut_off = leaf.cut_off or copy.cut_off
            raise

    return await hedging.call(gate, leaf.item, partial(make, leaf), again, fits)


def _want(leaf: Leaf, spending: Spending) -> Wanted | Failure:
    try:
        return spending.want(leaf.strategy, leaf.prompt)
    except StrategyError as error:
        return unusable(error)
    except Exception as error:
        return leaf.judge(error)


async def _admitted(gate: Gate, leaf: Leaf) -> CallEnded:
    return await leaf.as_leaf(gate)


async def _reserved(leaf: Leaf, gate: Gate, spending: Spending, wanted: Wanted) -> CallEnded:
    """Reserve what the call may take, before it waits for its permit; settle what it took."""
    bill = await spending.reserve(leaf.item, wanted)
    if isinstance(bill, Failure):
        return bill
    try:
        ended = await leaf.as_leaf(gate)
    except BaseException:
        spending.cancel(bill, in_flight=leaf.cut_off)
        raise
    spending.settle(bill, ended)
    return ended
