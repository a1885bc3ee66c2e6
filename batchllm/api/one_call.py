"""One call with all the resilience of a batch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from attrs import define, evolve
from typing_extensions import TypeVar

from batchllm.api.options import build_options
from batchllm.api.outputs import output_of
from batchllm.api.run import run_batch
from batchllm.core import (
    LLMCallStrategy,
    LLMWorkItem,
    ProcessorConfig,
    WorkItemResult,
    check_prompt,
    explain_arguments,
    places_of_settings,
)
from batchllm.gate import Gate
from batchllm.llm_strategies import StrategyLike

__all__ = ["call", "call_result"]

Out = TypeVar("Out", default=Any)

_MANY = 10
"""Single calls of one strategy that are a loop, which pays for a new connection at each of them."""
_COUNT = "_batchllm_lone_calls"


@explain_arguments(places_of_settings())
async def call_result(
    prompt: Any,
    strategy: StrategyLike[Out],
    *,
    config: ProcessorConfig | None = None,
    context: Any = None,
    gate: Gate | Sequence[Gate] | None = None,
) -> WorkItemResult[Out, Any]:
    """Make one call with all the resilience of a batch, and return the full result.

    For many calls, use ``run_batch`` or ``open_pool``, which keep their connections and what they
    have learned about limits from call to call.

    Args:
        prompt: A text, a list of chat messages or a list of content parts.
        strategy: As for ``run_batch``.
        config: The settings.
        context: Comes back in the result.
        gate: A gate of your own, to share its limits.

    Raises:
        InvalidItemError: The prompt is not a text, messages or parts.
        ConfigError: Another argument is wrong.
        BatchError: The strategy's ``prepare`` failed.
    """
    _count(strategy)
    return await _call_result(prompt, strategy, config, context, gate)


@explain_arguments(places_of_settings())
async def call(
    prompt: Any,
    strategy: StrategyLike[Out],
    *,
    config: ProcessorConfig | None = None,
    gate: Gate | Sequence[Gate] | None = None,
) -> Out:
    """Make one call with all the resilience of a batch, and return its value.

    Args:
        prompt: A text, a list of chat messages or a list of content parts.
        strategy: As for ``run_batch``.
        config: The settings.
        gate: A gate of your own, to share its limits.

    Raises:
        Exception: The error of the last attempt.
        InvalidItemError: The prompt is not a text, messages or parts.
        ConfigError: Another argument is wrong.
        BatchError: The strategy's ``prepare`` failed, or the call ended without an error to
            raise.
    """
    _count(strategy)
    return output_of(await _call_result(prompt, strategy, config, None, gate))


async def _call_result(
    prompt: Any,
    strategy: StrategyLike[Out],
    config: ProcessorConfig | None,
    context: Any,
    gate: Gate | Sequence[Gate] | None,
) -> WorkItemResult[Out, Any]:
    options = build_options(strategy, config=config, gate=gate)
    texts = options.strategy is not None and options.strategy.takes_texts
    checked = check_prompt(prompt, texts=texts)
    item: LLMWorkItem[Any, Any, Any] = LLMWorkItem("call", None, checked, context)
    settings = evolve(options.config, keep_results=True)
    result = await run_batch([item], options.strategy, config=settings, gate=options.gates)
    return result.results[0]


@define(eq=False)
class _LoneCalls:
    """The number of lone calls; no plain value, so that the strategy's identity leaves it out."""

    number: int = 0


def _count(strategy: object) -> None:
    """Warn once of a loop of single calls; the strategy carries the count."""
    if not isinstance(strategy, LLMCallStrategy):
        return
    calls = vars(strategy).setdefault(_COUNT, _LoneCalls())
    calls.number += 1
    if calls.number == _MANY:
        warnings.warn(
            f"{_MANY} single calls of one {type(strategy).__name__}; open_pool(strategy) keeps "
            "its connections and what it learns about limits from call to call, and "
            "run_batch(prompts, strategy) makes many calls at once",
            RuntimeWarning,
            stacklevel=4,  # above the check of arguments
        )
