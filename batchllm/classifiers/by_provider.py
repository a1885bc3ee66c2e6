"""The words that only one provider uses, or uses differently."""

from __future__ import annotations

from typing import ClassVar

from batchllm.classifiers.default import DefaultErrorClassifier
from batchllm.classifiers.tables import COMMON, Phrase, Tables
from batchllm.core import Category

__all__ = ["AnthropicErrorClassifier", "GeminiErrorClassifier", "OpenAIErrorClassifier"]


class OpenAIErrorClassifier(DefaultErrorClassifier):
    """For OpenAI, Azure, OpenRouter, Groq, Mistral, DeepSeek, vLLM and Ollama."""

    tables: ClassVar[Tables] = COMMON.extended(
        {
            "account_deactivated": Category.AUTHENTICATION,
            "unsupported_country_region_territory": Category.PERMISSION,
            "tokens_limit_reached": Category.TOO_LARGE,  # Azure's model catalogue
            "3505": Category.RATE_LIMIT,  # Mistral: capacity of the service tier
        },
        # OpenRouter has only the status as code.
        Phrase.of(Category.FILTERED, {403}, r"moderation|flagged"),
        Phrase.of(Category.MODEL_NOT_FOUND, {404}, r"no endpoints found"),
    )


class AnthropicErrorClassifier(DefaultErrorClassifier):
    """For Anthropic, whose types say no more than the status: the finer cases are in words."""

    tables: ClassVar[Tables] = COMMON.extended(
        {},
        Phrase.of(Category.MODEL_NOT_FOUND, {404}, r"^model:"),
        Phrase.of(Category.INSUFFICIENT_QUOTA, {400, 403, 429}, r"specified api usage limits"),
    )


class GeminiErrorClassifier(DefaultErrorClassifier):
    """For Google's ``google.rpc`` statuses, as its REST API and ``google-genai`` give them."""

    tables: ClassVar[Tables] = COMMON.extended(
        {
            "unavailable": Category.OVERLOADED,
            "failed_precondition": Category.PERMISSION,  # region or billing
            "billing_disabled": Category.INSUFFICIENT_QUOTA,
            "service_disabled": Category.PERMISSION,
            "api_key_service_blocked": Category.PERMISSION,
        },
        Phrase.of(Category.AUTHENTICATION, {400}, r"api key (not valid|expired)"),
        # An expired cache is no reason to doubt the model: it can be made anew.
        Phrase.of(Category.NOT_FOUND, {403, 404}, r"cached ?content"),
        Phrase.of(Category.MODEL_NOT_FOUND, {404}, r"models/|publisher model"),
    )
