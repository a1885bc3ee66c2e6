"""The price of a call: from the user's own table, else the strategy's, else a library's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from attrs import define, field

from batchllm.core import LLMCallStrategy, Price, QuotaScope, TokenUsage
from batchllm.policy.price_library import has_library, is_loaded, library_price, load_library

__all__ = ["PriceBook", "model_name"]

_FREE: Final = Price(input=0.0, output=0.0)
_OWN_SERVERS: Final = frozenset({"sim", "ollama", "vllm"})
"""Providers that bill no tokens: the simulator, and servers of one's own."""
_MOST: Final = 1_000
"""Names of models that are remembered, of those that only replies have shown."""


def _now() -> datetime:
    return datetime.now(UTC)


def model_name(scope: QuotaScope) -> str:
    """Return how a model is named in tables of prices: ``provider:model``."""
    return f"{scope.provider}:{scope.model}" if scope.model else scope.provider


@define(eq=False)
class PriceBook:
    """Finds prices, each model's once.

    Args:
        own: The user's table, by ``"provider:model"`` or a pattern with ``*``. A name that is there
            comes before patterns, and of two patterns that fit the first counts.
        now: The date whose prices count.

    Attributes:
        unloaded: Whether the package of prices may have to be loaded before it is asked.
    """

    own: Mapping[str, Price] = field(factory=dict[str, Price])
    now: Callable[[], datetime] = _now
    _found: dict[tuple[QuotaScope, Price | None], Price | None] = field(factory=dict, init=False)
    _answered: dict[tuple[QuotaScope, str], Price | None] = field(factory=dict, init=False)
    _scope: QuotaScope | None = field(default=None, init=False)
    _own: Price | None = field(default=None, init=False)
    _price: Price | None = field(default=None, init=False)
    unloaded: bool = field(default=True, init=False)

    def of(self, strategy: LLMCallStrategy[Any]) -> Price | None:
        """Return the price of a strategy's calls; ``None`` if it is not known."""
        scope, own = strategy.quota_scope, strategy.price
        if scope is None:
            return None
        if not isinstance(own, Price):  # not even hashable, it may be
            own = None
        key = (scope, own)
        if key not in self._found:
            self._found[key] = self._find(scope, own)
        return self._found[key]

    def cost(
        self,
        strategy: LLMCallStrategy[Any],
        usage: TokenUsage | None,
        metadata: Mapping[str, Any] | None = None,
    ) -> float | None:
        """Return the US dollars of one call; ``None`` if its price or its tokens are not known.

        Args:
            strategy: What was called.
            usage: What it took.
            metadata: What the reply said beside its answer. The ``model`` in it counts if the
                strategy's own has no price, such as the name of a deployment.
        """
        if usage is None:
            return None
        scope, own = strategy.quota_scope, strategy.price
        if scope is not self._scope or own is not self._own:  # nearly always those of the last call
            self._price = self.of(strategy)
            self._scope, self._own = scope, own
        price = self._price
        if price is None:
            if metadata is None or scope is None or not scope.model:
                return None
            price = self._of_answer(scope, metadata.get("model"))
        return None if price is None else price.cost(usage)

    def missing(self, strategy: LLMCallStrategy[Any]) -> list[str]:
        """Return the names of the models of *strategy*, and of its parts, that have no price."""
        if strategy.quota_scope is None:
            return [name for part in strategy.parts for name in self.missing(part)]
        return [] if self.of(strategy) is not None else [model_name(strategy.quota_scope)]

    def waits_for_library(self, strategy: LLMCallStrategy[Any]) -> bool:
        """Return whether the price of a strategy is in a package that has to be loaded first.

        ``load`` does that: else the first answer would, on the event loop, while others wait.
        """
        scope, own = strategy.quota_scope, strategy.price
        if not self.unloaded or scope is None or (scope is self._scope and own is self._own):
            return False
        if isinstance(own, Price) or not scope.model or self._given(scope, None) is not None:
            return False
        self.unloaded = self.has_library and not is_loaded()
        return self.unloaded

    def load(self) -> None:
        """Load the package of prices, which blocks; it is for a worker thread."""
        load_library()
        self.unloaded = False

    def _of_answer(self, scope: QuotaScope, model: object) -> Price | None:
        if not isinstance(model, str) or model == scope.model:
            return None
        key = (scope, model)
        if key not in self._answered:
            if len(self._answered) >= _MOST:
                self._answered.clear()
            named = QuotaScope(scope.provider, scope.base_url, scope.account, model)
            self._answered[key] = self._find(named, None)
        return self._answered[key]

    def _find(self, scope: QuotaScope, given: Price | None) -> Price | None:
        found = self._given(scope, given)
        if found is not None or not scope.model or not self.has_library:
            return found
        return library_price(scope.provider, scope.model, scope.base_url, self.now())

    def _given(self, scope: QuotaScope, given: Price | None) -> Price | None:
        """Return the price that no package has to be asked for."""
        name = model_name(scope)
        if name in self.own:
            return self.own[name]
        for pattern, price in self.own.items():
            if "*" in pattern and fnmatchcase(name, pattern):
                return price
        if given is None and scope.provider in _OWN_SERVERS:
            return _FREE
        return given

    @property
    def has_library(self) -> bool:
        """Return whether the package of prices is installed."""
        return has_library()

    def remedy(self, names: list[str]) -> str:
        """Return what to do about models that have no price."""
        name, of = names[0], "in US dollars per million tokens"
        if ":" not in name:
            return f"set price = Price(input=…, output=…) on the strategy, {of}"
        table = f'ProcessorConfig(prices={{"{name}": Price(input=…, output=…)}})'
        if self.has_library:
            return f"give {table}, {of}; the package genai-prices does not have it"
        return f'install a list by pip install "batchllm[prices]", or give {table}, {of}'
