"""Strategies over the clients of OpenAI's and Anthropic's own packages."""

from __future__ import annotations

from typing import Any, ClassVar, Generic

from attrs import define
from typing_extensions import TypeVar

from batchllm.llm_strategies.output import OutputStrategy
from batchllm.providers import (
    AnthropicClientModel,
    OpenAIClientModel,
    OpenAIResponsesClientModel,
)

__all__ = ["AnthropicStrategy", "OpenAIResponsesStrategy", "OpenAIStrategy"]

T = TypeVar("T", default=str)


@define(eq=False, slots=False, init=False, repr=False)
class OpenAIStrategy(OutputStrategy[T], Generic[T]):
    """Asks by an ``openai.AsyncOpenAI`` of yours, or by anything that has its methods.

    The client's own retries are switched off for these calls. You made the client, so you close
    it; a real one works on asyncio and on Trio, and serves one event loop.

    Example::

        OpenAIStrategy(openai.AsyncOpenAI(), "gpt-5-mini", system="Be brief.")

    Args:
        client: Called is ``client.chat.completions.create``.
        model: The provider's name of the model.
        system: The system instruction.
        output: See ``OutputStrategy``.
        temperature: ``None`` leaves it to the model.
        parameters: More arguments for each call, such as ``max_completion_tokens=500``;
            ``stream=True`` has answers fetched piece by piece, so that a stall is noticed.

    Raises:
        StrategyError: *client* has no such method.
        ConfigError: An argument is of a wrong kind, or unknown to the client's method.
        TypeError: *output* holds a type that JSON cannot express.
    """

    _model_class: ClassVar[type[OpenAIClientModel | OpenAIResponsesClientModel]] = OpenAIClientModel

    def __init__(
        self,
        client: Any,
        model: str,
        *,
        system: str | None = None,
        output: type[T] | None = None,
        temperature: float | None = None,
        **parameters: Any,
    ) -> None:
        asked = self._model_class(client, model, parameters=parameters, owner=type(self).__name__)
        super().__init__(asked, output, temperature=temperature, system=system)


@define(eq=False, slots=False, init=False, repr=False)
class OpenAIResponsesStrategy(OpenAIStrategy[T], Generic[T]):
    """An ``OpenAIStrategy`` that calls ``client.responses.create``.

    Example::

        OpenAIResponsesStrategy(openai.AsyncOpenAI(), "gpt-5-mini", reasoning={"effort": "low"})

    Args:
        client: Called is ``client.responses.create``.
        model: See ``OpenAIStrategy``, as for the others.
        parameters: More arguments for each call, such as ``max_output_tokens=500``.
    """

    _model_class = OpenAIResponsesClientModel


@define(eq=False, slots=False, init=False, repr=False)
class AnthropicStrategy(OutputStrategy[T], Generic[T]):
    """Asks by an ``anthropic.AsyncAnthropic`` of yours, or by anything that has its methods.

    The client's own retries are switched off for these calls. You made the client, so you close
    it; a real one works on asyncio and on Trio, and serves one event loop.

    Example::

        AnthropicStrategy(anthropic.AsyncAnthropic(), "claude-sonnet-5", max_tokens=500)

    Args:
        client: Called is ``client.messages.create``.
        model: The provider's name of the model.
        max_tokens: The most tokens of an answer; Anthropic demands such a limit.
        system: The system instruction.
        output: See ``OutputStrategy``.
        temperature: ``None`` leaves it to the model.
        parameters: More arguments for each call, such as ``thinking={…}``; ``stream=True`` has
            answers fetched piece by piece, so that a stall is noticed.

    Raises:
        StrategyError: *client* has no such method.
        ConfigError: An argument is of a wrong kind, or unknown to the client's method.
        TypeError: *output* holds a type that JSON cannot express.
    """

    def __init__(
        self,
        client: Any,
        model: str,
        *,
        max_tokens: int = 1024,
        system: str | None = None,
        output: type[T] | None = None,
        temperature: float | None = None,
        **parameters: Any,
    ) -> None:
        asked = AnthropicClientModel(
            client,
            model,
            parameters={"max_tokens": max_tokens, **parameters},
            owner=type(self).__name__,
        )
        super().__init__(asked, output, temperature=temperature, system=system)
