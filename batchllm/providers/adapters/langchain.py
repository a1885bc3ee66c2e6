"""LangChain's runnables: chat models, chains, and everything that is invoked as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

from attrs import Attribute, define, field

from batchllm.core import (
    LLMResponse,
    QuotaScope,
    RetryState,
    TokenUsage,
    add_usage,
    explain_arguments,
    normalize_usage,
    one_of,
    refuse,
)
from batchllm.providers.adapters.bridge import AsyncioBridge
from batchllm.providers.adapters.bridged import BridgedStrategy, comes_from, has_method
from batchllm.providers.wire import (
    as_parts,
    attach_usage,
    check_answered,
    joined,
    make_response,
    mapping_of,
    normalize_finish,
    token_logprobs,
)

__all__ = ["LangChainStrategy"]


def _is_function(instance: Any, attribute: Attribute[Any], function: object) -> None:
    if not callable(function):
        refuse(instance, attribute, function, "a function from prompt to input")


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class LangChainStrategy(BridgedStrategy[Any]):
    """Invokes a LangChain runnable, or anything alike, for each attempt.

    The output of a chat model is its text; what else a chain gives is the output as it is. The
    tokens of a real runnable are counted over all its model calls, also if it fails later.
    Retries of its own count as one attempt here, so make its model with ``max_retries=0``.

    Example::

        LangChainStrategy(prompt | model, to_input=lambda question: {"question": question})

    Args:
        runnable: Has ``async ainvoke(input)``.
        to_input: Makes its input of a prompt, such as ``lambda prompt: {"question": prompt}``.
            By default a text or chat messages go in as they are, and content parts as a message.
        config: LangChain's configuration for each call.
        bridge: If it needs asyncio, and so a bridge on any other event loop; or the bridge
            itself, to be shared with other runs. By default those whose class comes from
            ``langchain_core`` have one of their own.

    Raises:
        StrategyError: *runnable* has no ``ainvoke``.
        ConfigError: Another argument is of a wrong kind.
    """

    _package: ClassVar[str] = "langchain_core"
    runnable: Any = field(
        init=False,
        validator=has_method(
            "ainvoke",
            "runnable",
            "a Runnable of LangChain (pip install 'batchllm[langchain]'), or anything with "
            "async ainvoke(input)",
        ),
    )
    to_input: Callable[[Any], Any] = field(init=False, validator=_is_function)
    config: Mapping[str, Any] = field(init=False, validator=one_of(Mapping, "a mapping"))

    def __init__(
        self,
        runnable: Any,
        *,
        to_input: Callable[[Any], Any] | None = None,
        config: Mapping[str, Any] | None = None,
        bridge: bool | AsyncioBridge | None = None,
    ) -> None:
        self.runnable = runnable
        self.to_input = to_input or _as_input
        self.config = config or {}
        self._is_real = comes_from(runnable, self._package)
        self._cross(runnable, bridge)
        self.quota_scope = _scope_of(runnable)

    def __repr__(self) -> str:
        return f"LangChainStrategy({type(self.runnable).__name__})"

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[Any, TokenUsage | None, Mapping[str, Any] | None]:
        """Invoke the runnable once.

        Raises:
            EmptyResponseError: A message has neither text nor calls of tools.
            Exception: What the runnable raised.
        """
        counter = _usage_counter() if self._is_real else None
        try:
            result = await self._invoke(self.to_input(prompt), counter)
        except Exception as error:
            attach_usage(error, _counted(counter))
            raise
        usage = _counted(counter) or normalize_usage(getattr(result, "usage_metadata", None))
        if not hasattr(result, "content"):
            return result, usage, None
        response = _read_message(result, usage)
        return response.text, usage, response.metadata

    async def _invoke(self, given: Any, counter: Any) -> Any:
        settings = dict(self.config)
        if counter is not None:
            settings["callbacks"] = [*(settings.get("callbacks") or ()), counter]
        more = {"config": settings} if settings else {}
        return await self._call(self.runnable.ainvoke, given, **more)


def _as_input(prompt: Any) -> Any:
    if isinstance(prompt, list) and prompt:
        parts = cast("list[Mapping[str, Any]]", prompt)
        return parts if "role" in parts[0] else [{"role": "user", "content": parts}]
    return prompt


def _read_message(message: Any, usage: TokenUsage | None) -> LLMResponse:
    said = mapping_of(getattr(message, "response_metadata", None))
    more = mapping_of(getattr(message, "additional_kwargs", None))
    reason = said.get("finish_reason") or said.get("stop_reason")
    model = said.get("model_name") or said.get("model")
    response = make_response(
        _text_of(message.content),
        finish=normalize_finish(reason),
        usage=usage,
        headers={},
        raw=message,
        metadata={
            "provider_finish_reason": reason,
            "response_id": getattr(message, "id", None),
            "model": model,
            "tool_calls": getattr(message, "tool_calls", None) or None,
            "reasoning": more.get("reasoning_content") or _thoughts(message.content) or None,
            "logprobs": token_logprobs(said.get("logprobs")) or None,
        },
    )
    check_answered(response, str(model or "the model"), refusal=more.get("refusal"))
    return response


def _text_of(content: object) -> str:
    return (
        content if isinstance(content, str) else joined(as_parts(content, "text"), "text", "text")
    )


def _thoughts(content: object) -> str:
    """Join the thoughts: OpenAI's and LangChain's own parts call them so, or Anthropic's."""
    parts = as_parts(content, "text")
    return joined(parts, "reasoning", "reasoning") or joined(parts, "thinking", "thinking")


def _usage_counter() -> Any:
    from langchain_core.callbacks import UsageMetadataCallbackHandler

    return UsageMetadataCallbackHandler()


def _counted(counter: Any) -> TokenUsage | None:
    total: TokenUsage | None = None
    for usage in counter.usage_metadata.values() if counter is not None else ():
        total = add_usage(total, normalize_usage(usage))
    return total


def _scope_of(runnable: Any) -> QuotaScope:
    """Return a chat model's own quota; a chain may call several, so it shares the run's."""
    name = getattr(runnable, "model_name", None) or getattr(runnable, "model", None)
    kind = getattr(runnable, "_llm_type", None)
    if not isinstance(name, str) or not isinstance(kind, str):
        return QuotaScope()
    return QuotaScope(kind, str(getattr(runnable, "openai_api_base", None) or ""), "", name)
