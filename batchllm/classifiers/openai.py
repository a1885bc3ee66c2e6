"""Errors of OpenAI and of the many services that speak its wire."""

from __future__ import annotations

from typing import ClassVar

from batchllm.classifiers.default import DefaultErrorClassifier
from batchllm.classifiers.tables import COMMON, Phrase, Tables
from batchllm.core import Category

__all__ = ["OpenAIErrorClassifier"]


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
