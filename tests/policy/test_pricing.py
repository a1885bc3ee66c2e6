"""Where the price of a call comes from, and what is said of one that is not known."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from batchllm import llm
from batchllm.core import Price, QuotaScope
from batchllm.llm_strategies import Fallback
from batchllm.policy import PriceBook
from batchllm.testing import ScriptedStrategy

OWN = Price(input=7, output=8)
ITS = Price(input=1, output=2)
USAGE: Any = {"input_tokens": 1_000_000, "output_tokens": 0}


def of(provider: str, model: str = "m", price: Price | None = None) -> ScriptedStrategy:
    strategy = ScriptedStrategy(scope=QuotaScope(provider, "https://x", "", model))
    strategy.price = price
    return strategy


def test_the_users_table_comes_first() -> None:
    """Its exact names before its patterns, and both before what the strategy says."""
    book = PriceBook({"a:*": ITS, "a:m": OWN, "*": Price(input=9, output=9)})
    assert book.of(of("a", price=Price(input=3, output=3))) == OWN
    assert book.of(of("a", "other")) == ITS
    assert book.of(of("b")) == Price(input=9, output=9)


def test_a_question_mark_in_a_name_is_no_pattern() -> None:
    """Scenarios of the simulator have one."""
    book = PriceBook({"sim:default?tokens=5": OWN})
    assert book.of(of("sim", "default?tokens=5")) == OWN
    assert book.of(of("sim", "default_tokens=5")) == Price(input=0, output=0)


def test_a_strategy_may_have_its_own() -> None:
    """A function of the user's has no name in any list."""
    strategy = ScriptedStrategy()
    assert PriceBook().of(strategy) is None
    strategy.price = ITS
    book = PriceBook()
    assert book.of(strategy) == ITS
    assert book.cost(strategy, USAGE) == 1.0
    strategy.price = OWN
    assert book.cost(strategy, USAGE) == 7.0


@pytest.mark.parametrize("provider", ["sim", "ollama", "vllm"])
def test_a_server_of_ones_own_bills_no_tokens(provider: str) -> None:
    """So that 0 is known, and not a guess."""
    assert PriceBook().cost(of(provider), USAGE) == 0.0


def test_a_simulated_model_has_the_price_of_its_scenario() -> None:
    """To try out budgets."""
    book = PriceBook()
    assert book.cost(llm("sim:default?input_price=2&output_price=5"), USAGE) == 2.0
    assert book.cost(llm("sim:default"), USAGE) == 0.0


def test_the_model_that_answered_counts_if_the_asked_one_has_no_price() -> None:
    """The name of a deployment says nothing, what the reply says does."""
    book = PriceBook({"azure:gpt-x": OWN})
    mine = of("azure", "my-deployment")
    assert book.cost(mine, USAGE) is None
    assert book.cost(mine, USAGE, {"model": "gpt-x"}) == 7.0
    assert book.cost(mine, USAGE, {"model": "gpt-y"}) is None
    assert book.cost(mine, USAGE, {"model": 3}) is None


def test_what_is_missing_is_named_with_all_parts() -> None:
    """A composite has no price; what it calls has."""
    book = PriceBook({"a:m": OWN})
    assert book.missing(Fallback([of("a"), of("b"), of("c", "n")])) == ["b:m", "c:n"]
    assert book.cost(Fallback([of("a"), of("a")]), USAGE) is None


def test_the_remedy_suits_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list to install, a table to give, or an attribute of a strategy that has no name."""
    book = PriceBook()
    monkeypatch.setattr("batchllm.policy.pricing.has_library", lambda: False)
    assert 'pip install "batchllm[prices]"' in book.remedy(["a:m"])
    assert 'ProcessorConfig(prices={"a:m": Price(' in book.remedy(["a:m"])
    monkeypatch.setattr("batchllm.policy.pricing.has_library", lambda: True)
    assert "pip" not in book.remedy(["a:m"])
    assert "price = Price(" in book.remedy(["common"])


def test_without_the_library_prices_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    assert PriceBook().of(of("openai", "gpt-5-mini")) is None


class TestTheLibrary:
    """Its prices, as its own calculation has them."""

    @pytest.fixture(autouse=True)
    def library(self) -> Any:
        return pytest.importorskip("genai_prices")

    @pytest.mark.parametrize(
        ("provider", "model", "theirs"),
        [
            ("openai", "gpt-5-mini", "openai"),
            ("openai-responses", "gpt-5-mini", "openai"),
            ("anthropic", "claude-sonnet-4-5", "anthropic"),
            ("gemini", "gemini-2.5-pro", "google"),
            ("deepseek", "deepseek-chat", "deepseek"),
            ("openai-chat", "gpt-4o", "openai"),
            ("openai", "text-embedding-3-small", "openai"),
        ],
    )
    @pytest.mark.parametrize("given", [1_000, 250_000])
    def test_costs_are_those_of_its_own_calculation(
        self, library: Any, provider: str, model: str, theirs: str, given: int
    ) -> None:
        """With caches and long prompts, at the same moment."""
        at = datetime(2026, 3, 4, 12, tzinfo=UTC)
        usage: Any = {
            "input_tokens": given,
            "output_tokens": 500,
            "cached_input_tokens": given // 2,
        }
        expected = library.calc_price(
            library.Usage(input_tokens=given, output_tokens=500, cache_read_tokens=given // 2),
            model,
            provider_id=theirs,
            genai_request_timestamp=at,
        )
        cost = PriceBook(now=lambda: at).cost(of(provider, model), usage)
        assert cost == pytest.approx(float(expected.total_price))

    def test_an_address_names_the_provider_of_a_compatible_server(self) -> None:
        """And a name that no list has is unknown there."""
        scope = QuotaScope("openai-compatible", "https://api.x.ai/v1", "", "grok-4")
        book = PriceBook()
        assert book.of(ScriptedStrategy(scope=scope)) is not None
        assert book.of(of("openai-compatible", "grok-4")) is None
        assert book.of(of("openai", "no-such-model")) is None
        assert book.of(of("no-such-provider")) is None
