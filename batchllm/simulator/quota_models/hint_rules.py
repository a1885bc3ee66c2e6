"""Rules for the wait that a refusal names: the truth, nothing, or one of the usual untruths."""

from collections.abc import Callable

HintRule = Callable[[float], float | None]
"""Makes the hint of a refusal from the seconds that the request would really have to wait."""


def exact_hint(wait: float) -> float | None:
    """Name the real wait."""
    return wait


def no_hint(wait: float) -> float | None:
    """Name no wait."""
    return None


def always_hint(seconds: float) -> HintRule:
    """Make a rule that always names `seconds`, as gateways do whose hint is a constant."""

    def hint(wait: float) -> float | None:
        return seconds

    return hint


def stretched_hint(factor: float) -> HintRule:
    """Make a rule that names `factor` times the real wait."""

    def hint(wait: float) -> float | None:
        return factor * wait

    return hint
