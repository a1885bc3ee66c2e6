"""The meaning of exceptions: whether to try again, whether the scope has to wait, and how long.

A classifier knows nothing of strategies. A strategy names the one that fits its provider by an
attribute ``error_classifier``; without one ``DefaultErrorClassifier`` serves, which knows every
provider's codes and differs only where providers use the same words for different things. A
classifier given to the run is asked before either.
"""

from batchllm.classifiers.asking import classify
from batchllm.classifiers.by_provider import (
    AnthropicErrorClassifier,
    GeminiErrorClassifier,
    OpenAIErrorClassifier,
)
from batchllm.classifiers.default import DefaultErrorClassifier
from batchllm.classifiers.evidence import status_of
from batchllm.classifiers.usage import (
    failed_usage,
    is_cut_off,
    is_unconnected,
    may_be_billed,
)

__all__ = [
    "AnthropicErrorClassifier",
    "DefaultErrorClassifier",
    "GeminiErrorClassifier",
    "OpenAIErrorClassifier",
    "classify",
    "failed_usage",
    "is_cut_off",
    "is_unconnected",
    "may_be_billed",
    "status_of",
]
