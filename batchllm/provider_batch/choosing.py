"""The batch API that a strategy's requests can go to, or the sentence that says why none can."""

from __future__ import annotations

from typing import Any, Final

from batchllm.core import ConfigError, LLMCallStrategy, kind_of
from batchllm.engine import is_own
from batchllm.llm_strategies import Composite, ModelStrategy, ResponseCache
from batchllm.provider_batch.answered import Batchable
from batchllm.provider_batch.wires import (
    OPENAI_PROVIDERS,
    AnthropicBatches,
    BatchWire,
    Control,
    GeminiBatches,
    OpenAIBatches,
)
from batchllm.providers import (
    AnthropicModel,
    ChatModel,
    EmbeddingStrategy,
    GeminiCachedModel,
    GeminiClient,
    GeminiEmbeddingStrategy,
    GeminiModel,
    ResponsesModel,
    WireModel,
)

__all__ = ["leaf_of", "wire_of", "within_cache"]

_NOT_YET: Final = "has no batches in this version; leave mode='batch' out to run online"


def within_cache(strategy: LLMCallStrategy[Any]) -> LLMCallStrategy[Any]:
    """Return the strategy that answers each prompt once: what is within a ``ResponseCache``."""
    return strategy.parts[0] if isinstance(strategy, ResponseCache) else strategy


def leaf_of(strategy: LLMCallStrategy[Any]) -> LLMCallStrategy[Any]:
    """Return the strategy whose requests are sent: the one that an item's first call is of."""
    strategy = within_cache(strategy)
    while isinstance(strategy, Composite) and strategy.opens_with_first and not _holds(strategy):
        strategy = strategy.parts[0]
    return strategy


def _holds(strategy: Composite[Any]) -> bool:
    """Return whether a composite takes something for the run, which each copy of it would take."""
    return is_own(strategy, "prepare") or is_own(strategy, "cleanup")


def wire_of(strategy: LLMCallStrategy[Any]) -> BatchWire:
    """Return the batch API for the requests of a strategy.

    Raises:
        ConfigError: There is none; the message says why, and what can be done.
    """
    strategy = leaf_of(strategy)
    if isinstance(strategy, Composite) and strategy.opens_with_first:
        msg = (
            f"mode='batch' was given {type(strategy).__name__}, which has a prepare or cleanup of "
            "its own, and makes a copy of it for each item: leave that to the models in it"
        )
        raise ConfigError(msg)
    if isinstance(strategy, Composite) or strategy.parts:
        msg = (
            f"mode='batch' was given {type(strategy).__name__}, whose first call is not of one "
            "model with the prompt as it is, and a batch is of one model: give that, such as "
            "llm('openai:gpt-5-mini'), or Fallback, ModelEscalation, ValidationFeedback, "
            "PartialRecovery or ProgressivePrompting of it, which go on online"
        )
        raise ConfigError(msg)
    if not isinstance(strategy, Batchable):
        msg = (
            f"mode='batch' was given {kind_of(strategy)}, whose requests cannot be written down; "
            "name a model by llm('openai:gpt-5-mini')"
        )
        raise ConfigError(msg)
    asked: Any = strategy.model if isinstance(strategy, ModelStrategy) else strategy
    scope = strategy.quota_scope
    fingerprint = "" if scope is None else scope.account
    if isinstance(asked, AnthropicModel):
        return AnthropicBatches(Control("anthropic", asked.http, fingerprint))
    if isinstance(asked, GeminiModel | GeminiEmbeddingStrategy):
        if not isinstance(asked.client, GeminiClient):
            msg = (
                f"mode='batch' needs a GeminiClient, or llm('gemini:…'): {kind_of(asked.client)} "
                "has connections of its own"
            )
            raise ConfigError(msg)
        return GeminiBatches(Control("gemini", asked.client.http, fingerprint))
    if isinstance(asked, GeminiCachedModel):
        msg = (
            "mode='batch' was given a GeminiCachedModel, whose cache would end before the batch "
            "does: name a cache that lives for days by parameters={'cached_content': …} of a "
            "GeminiModel, or run online"
        )
        raise ConfigError(msg)
    if not isinstance(asked, (ChatModel, ResponsesModel, EmbeddingStrategy)):
        what = asked.endpoint.provider if isinstance(asked, WireModel) else kind_of(asked)
        msg = f"{what} {_NOT_YET}"
        raise ConfigError(msg)
    provider = asked.endpoint.provider
    if provider not in OPENAI_PROVIDERS:
        known = ", ".join(sorted({"anthropic", "gemini", *OPENAI_PROVIDERS}))
        msg = f"{provider} {_NOT_YET}. Batches can go to {known}"
        raise ConfigError(msg)
    return OpenAIBatches(Control(provider, asked.http, fingerprint))
