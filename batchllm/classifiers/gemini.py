"""Errors of Gemini and Vertex."""

from __future__ import annotations

from typing import ClassVar

from batchllm.classifiers.default import DefaultErrorClassifier
from batchllm.classifiers.tables import COMMON, Phrase, Tables
from batchllm.core import Category

__all__ = ["GeminiErrorClassifier"]


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
