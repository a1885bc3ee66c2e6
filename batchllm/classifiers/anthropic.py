"""Errors of Anthropic's Messages API."""

from __future__ import annotations

from typing import ClassVar

from batchllm.classifiers.default import DefaultErrorClassifier
from batchllm.classifiers.tables import COMMON, Phrase, Tables
from batchllm.core import Category

__all__ = ["AnthropicErrorClassifier"]


class AnthropicErrorClassifier(DefaultErrorClassifier):
    """For Anthropic, whose types say no more than the status: the finer cases are in words."""

    tables: ClassVar[Tables] = COMMON.extended(
        {},
        Phrase.of(Category.MODEL_NOT_FOUND, {404}, r"^model:"),
        Phrase.of(Category.INSUFFICIENT_QUOTA, {400, 403, 429}, r"specified api usage limits"),
    )
