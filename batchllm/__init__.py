"""Structured concurrency for large batches of LLM calls, on asyncio, uvloop and Trio.

The layers, each built on those above it::

    core            items, results, settings, errors, contracts: values, no I/O
    policy          decisions as pure state machines: retries, limits, cooldown, quota search
    classifiers     what an exception means
    structured      schemas, parsing and feedback for structured output
    gate            admission: the AnyIO side of policy, one gate per quota scope
    journal         results on disk, and the resumption of a run
    transport       HTTP: the one seam that every provider goes through
    middleware      steps round each item
    observers       metrics and logging
    simulator       a provider that answers from a seed, in process or over HTTP
    shared          one quota for several processes and machines
    providers       wire formats
    llm_strategies  strategies by name, and strategies that compose others
    engine          guarded calls, attempts, and the run of a batch with all its endings
    api             the entry points: run_batch, stream_batch, open_pool, ParallelBatchProcessor
    reports         a run as a page of HTML
    cli, testing    the command line; virtual time and doubles for tests

The names that most programs need can be imported from here; everything else comes from its folder,
such as ``batchllm.providers.ChatModel``. A name is imported when it is first used, so that
``import batchllm`` is quick, and a program loads no more than it needs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from batchllm.on_demand import on_demand
from batchllm.version import __version__ as __version__

if TYPE_CHECKING:
    from batchllm.api import (
        BatchRun,
        ParallelBatchProcessor,
        Pool,
        call,
        call_result,
        open_pool,
        run_batch,
        run_batch_sync,
        serve_pool,
        stream_batch,
        stream_batch_sync,
    )
    from batchllm.classifiers import (
        AnthropicErrorClassifier,
        DefaultErrorClassifier,
        GeminiErrorClassifier,
        OpenAIErrorClassifier,
    )
    from batchllm.core import (
        SKIP,
        BaseMiddleware,
        BaseObserver,
        BatchError,
        BatchFailures,
        BatchResult,
        Budget,
        Category,
        ClosedError,
        ConfigError,
        EmptyResponseError,
        EndCause,
        ErrorClassifier,
        ErrorInfo,
        FailFast,
        FrameworkTimeoutError,
        HedgeConfig,
        InvalidItemError,
        JournalError,
        LLMCallStrategy,
        LLMModel,
        LLMResponse,
        LLMWorkItem,
        ManagedLLMModel,
        Middleware,
        Price,
        ProcessingEvent,
        ProcessorConfig,
        ProviderError,
        RateLimitConfig,
        RetryConfig,
        RetryState,
        SaturatedError,
        Termination,
        TokenTrackingError,
        TokenUsage,
        WorkItemResult,
        dump_config,
        load_config,
    )
    from batchllm.engine import CANCEL, DRAIN, PostProcessor, blocking_source, in_thread
    from batchllm.gate import Gate
    from batchllm.journal import Journal
    from batchllm.llm_strategies import (
        AnthropicStrategy,
        AsyncioBridge,
        Balance,
        Fallback,
        GeminiCachedStrategy,
        GeminiResponse,
        GeminiStrategy,
        KeyRotation,
        LangChainStrategy,
        ModelEscalation,
        ModelStrategy,
        OpenAIResponsesStrategy,
        OpenAIStrategy,
        PartialRecovery,
        ProgressivePrompting,
        ProgressiveTemperature,
        PydanticAIStrategy,
        ResponseCache,
        ValidationFeedback,
        from_callable,
        llm,
        structured,
    )
    from batchllm.observers import MetricsObserver
    from batchllm.policy import Limit
    from batchllm.providers import EmbeddingStrategy, GeminiCachedModel, GeminiModel
    from batchllm.reports import write_report
    from batchllm.transport import HttpTransport
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.core": """
                SKIP BaseMiddleware BaseObserver BatchError BatchFailures
                BatchResult Budget Category ClosedError ConfigError
                EmptyResponseError EndCause ErrorClassifier ErrorInfo FailFast
                FrameworkTimeoutError HedgeConfig InvalidItemError JournalError
                LLMCallStrategy LLMModel LLMResponse LLMWorkItem ManagedLLMModel
                Middleware Price ProcessingEvent ProcessorConfig ProviderError
                RateLimitConfig RetryConfig RetryState SaturatedError Termination
                TokenTrackingError TokenUsage WorkItemResult dump_config load_config
            """,
            "batchllm.policy": "Limit",
            "batchllm.classifiers": """
                AnthropicErrorClassifier DefaultErrorClassifier
                GeminiErrorClassifier OpenAIErrorClassifier
            """,
            "batchllm.structured": "",
            "batchllm.gate": "Gate",
            "batchllm.journal": "Journal",
            "batchllm.transport": "HttpTransport",
            "batchllm.observers": "MetricsObserver",
            "batchllm.providers": "EmbeddingStrategy GeminiCachedModel GeminiModel",
            "batchllm.llm_strategies": """
                AnthropicStrategy AsyncioBridge Balance Fallback
                GeminiCachedStrategy GeminiResponse GeminiStrategy KeyRotation
                LangChainStrategy ModelEscalation ModelStrategy
                OpenAIResponsesStrategy OpenAIStrategy PartialRecovery
                ProgressivePrompting ProgressiveTemperature PydanticAIStrategy
                ResponseCache ValidationFeedback from_callable llm structured
            """,
            "batchllm.engine": "CANCEL DRAIN PostProcessor blocking_source in_thread",
            "batchllm.api": """
                BatchRun ParallelBatchProcessor Pool call call_result open_pool
                run_batch run_batch_sync serve_pool stream_batch stream_batch_sync
            """,
            "batchllm.reports": "write_report",
            "batchllm.cli": "",
            "batchllm.middleware": "",
            "batchllm.shared": "",
            "batchllm.simulator": "",
            "batchllm.testing": "",
        },
    )

__all__ = [
    "CANCEL",
    "DRAIN",
    "SKIP",
    "AnthropicErrorClassifier",
    "AnthropicStrategy",
    "AsyncioBridge",
    "Balance",
    "BaseMiddleware",
    "BaseObserver",
    "BatchError",
    "BatchFailures",
    "BatchResult",
    "BatchRun",
    "Budget",
    "Category",
    "ClosedError",
    "ConfigError",
    "DefaultErrorClassifier",
    "EmbeddingStrategy",
    "EmptyResponseError",
    "EndCause",
    "ErrorClassifier",
    "ErrorInfo",
    "FailFast",
    "Fallback",
    "FrameworkTimeoutError",
    "Gate",
    "GeminiCachedModel",
    "GeminiCachedStrategy",
    "GeminiErrorClassifier",
    "GeminiModel",
    "GeminiResponse",
    "GeminiStrategy",
    "HedgeConfig",
    "HttpTransport",
    "InvalidItemError",
    "Journal",
    "JournalError",
    "KeyRotation",
    "LLMCallStrategy",
    "LLMModel",
    "LLMResponse",
    "LLMWorkItem",
    "LangChainStrategy",
    "Limit",
    "ManagedLLMModel",
    "MetricsObserver",
    "Middleware",
    "ModelEscalation",
    "ModelStrategy",
    "OpenAIErrorClassifier",
    "OpenAIResponsesStrategy",
    "OpenAIStrategy",
    "ParallelBatchProcessor",
    "PartialRecovery",
    "Pool",
    "PostProcessor",
    "Price",
    "ProcessingEvent",
    "ProcessorConfig",
    "ProgressivePrompting",
    "ProgressiveTemperature",
    "ProviderError",
    "PydanticAIStrategy",
    "RateLimitConfig",
    "ResponseCache",
    "RetryConfig",
    "RetryState",
    "SaturatedError",
    "Termination",
    "TokenTrackingError",
    "TokenUsage",
    "ValidationFeedback",
    "WorkItemResult",
    "blocking_source",
    "call",
    "call_result",
    "dump_config",
    "from_callable",
    "in_thread",
    "llm",
    "load_config",
    "open_pool",
    "run_batch",
    "run_batch_sync",
    "serve_pool",
    "stream_batch",
    "stream_batch_sync",
    "structured",
    "write_report",
]


class _Package(ModuleType):
    """This module, in which ``structured`` stays the function that goes by this name.

    Python's import would put the folder of the same name in its place once it is loaded.
    """

    @property
    def structured(self) -> Any:
        """Return the function that makes the outputs of a strategy typed."""
        return import_module(f"{__name__}.llm_strategies").structured

    @structured.setter
    def structured(self, module: object) -> None:
        pass


sys.modules[__name__].__class__ = _Package
