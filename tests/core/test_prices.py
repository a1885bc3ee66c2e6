"""The cost of a call, to the token."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import ConfigError, Price, TokenUsage

RATES = st.floats(0, 100)
COUNTS = st.integers(0, 500_000)
LONG = Price(input=1, output=10, above=((200_000, Price(input=2, output=15)),))


@pytest.mark.parametrize(
    ("price", "usage", "dollars"),
    [
        (Price(input=1, output=4), {"input_tokens": 1_000_000, "output_tokens": 0}, 1.0),
        (Price(input=1, output=4), {"input_tokens": 1_000, "output_tokens": 500}, 0.003),
        (
            Price(input=1, output=4, cached_input=0.1),
            {"input_tokens": 1_000, "output_tokens": 0, "cached_input_tokens": 600},
            0.00046,
        ),
        (
            Price(input=1, output=4, cached_input=0.1, cache_write=1.25),
            {
                "input_tokens": 1_000,
                "output_tokens": 0,
                "cached_input_tokens": 600,
                "cache_write_tokens": 300,
            },
            0.000535,
        ),
        (
            Price(input=1, output=4),
            {"input_tokens": 1_000, "output_tokens": 0, "cached_input_tokens": 600},
            0.001,
        ),
        (
            Price(input=0, output=4),
            {"input_tokens": 0, "output_tokens": 100, "reasoning_tokens": 80},
            0.0004,
        ),
        (
            Price(input=0, output=4, reasoning=1),
            {"input_tokens": 0, "output_tokens": 100, "reasoning_tokens": 80},
            0.00016,
        ),
        (Price(input=1, output=4, request=0.01), {"input_tokens": 0, "output_tokens": 0}, 0.01),
        (Price(input=1, output=4), {"input_tokens": 1_000, "total_tokens": 1_500}, 0.003),
        (Price(input=1, output=4), {"output_tokens": 500, "total_tokens": 1_500}, 0.003),
        (Price(input=0.02, output=0), {"input_tokens": 1_000_000}, 0.02),
        (LONG, {"input_tokens": 200_000, "output_tokens": 100_000}, 1.2),
        (LONG, {"input_tokens": 300_000, "output_tokens": 100_000}, 2.1),
    ],
)
def test_each_kind_of_token_has_its_price(price: Price, usage: Any, dollars: float) -> None:
    """Cached, written, thought and said; a long prompt makes all of them dearer."""
    assert price.cost(usage) == pytest.approx(dollars, rel=1e-12)


@pytest.mark.parametrize("usage", [None, {}, {"output_tokens": 5}, {"total_tokens": 5}])
def test_unknown_tokens_have_an_unknown_cost(usage: Any) -> None:
    """An unknown cost is not 0."""
    assert Price(input=1, output=1).cost(usage) is None


@given(
    *([RATES] * 2),
    *([st.none() | RATES] * 3),
    *([COUNTS] * 2),
    st.tuples(*([st.floats(0, 1)] * 3)),
    st.booleans(),
)
def test_no_call_costs_more_than_its_worst(
    inputs: float,
    outputs: float,
    cached: float | None,
    written: float | None,
    thought: float | None,
    given: int,
    answered: int,
    shares: tuple[float, float, float],
    tiered: bool,
) -> None:
    """It holds for any part that was cached, written or thought, and for any length."""
    more: dict[str, Any] = {"cached_input": cached, "cache_write": written, "reasoning": thought}
    above = ((100_000, Price(input=1.5, output=50, **more)),) if tiered else ()
    price = Price(input=inputs, output=outputs, above=above, **more)
    usage = TokenUsage(
        input_tokens=int(shares[0] * given),
        output_tokens=int(shares[1] * answered),
        cached_input_tokens=int(shares[0] * shares[2] * given),
        cache_write_tokens=int(shares[0] * (1 - shares[2]) * given),
        reasoning_tokens=int(shares[1] * shares[2] * answered),
    )
    cost = price.cost(usage)
    assert cost is not None
    assert cost <= price.worst(given, answered) * (1 + 1e-12)


@given(st.floats(0, 3), COUNTS, COUNTS)
def test_a_share_of_a_price_is_that_share_of_each_cost(share: float, given: int, out: int) -> None:
    """Batches of a provider cost half."""
    usage = TokenUsage(input_tokens=given, output_tokens=out, cached_input_tokens=given // 3)
    price = Price(
        input=1,
        output=4,
        cached_input=0.1,
        cache_write=2,
        reasoning=3,
        request=0.5,
        above=((200_000, Price(input=2, output=8)),),
    )
    whole = price.cost(usage)
    assert whole is not None
    assert price.scaled(share).cost(usage) == pytest.approx(share * whole, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input": -1, "output": 1}, "Price.input is -1; give a number of at least 0"),
        ({"input": 1, "output": "2"}, "Price.output is '2'"),
        ({"input": 1, "output": 2, "cached": 3}, "did you mean"),
        ({"input": 1, "output": 2, "above": ((5, 3),)}, "pairs of a number of input tokens"),
        ({"input": 1, "output": 2, "above": 3}, "pairs of a number of input tokens"),
        (
            {"input": 1, "output": 2, "above": ((5, LONG), (5, LONG))},
            "the smaller numbers first",
        ),
    ],
)
def test_wrong_prices_are_refused(given: Any, message: str) -> None:
    """By field, value and remedy."""
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        Price(**given)


def test_steps_may_be_given_as_a_mapping() -> None:
    """As they stand in a file."""
    assert Price(input=1, output=10, above={200_000: Price(input=2, output=15)}) == LONG  # type: ignore[arg-type]
