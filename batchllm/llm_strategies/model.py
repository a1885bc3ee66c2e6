"""The strategy that asks one model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final, Generic, cast

from attrs import Attribute, define, evolve, field, setters
from typing_extensions import TypeVar

from batchllm.core import (
    CallCost,
    ErrorClassifier,
    LLMCallStrategy,
    LLMModel,
    LLMResponse,
    QuotaScope,
    RetryState,
    StrategyError,
    TokenUsage,
    counted_usage,
    explain_arguments,
    kind_of,
    one_of,
    refuse,
    with_notes,
)
from batchllm.providers import WireRequest, attach_usage
from batchllm.structured import Parsed
from batchllm.transport import ConnectionStats, HttpReply

__all__ = ["ModelStrategy"]

T = TypeVar("T", default=str)

_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""The names that providers have for the bound on an answer."""


def _text(response: LLMResponse) -> str:
    return response.text


def _has_generate(instance: Any, attribute: Attribute[Any], model: object) -> None:
    if not callable(getattr(model, "generate", None)):
        msg = (
            f"the model is {kind_of(model)}, which has no generate(); give an "
            "LLMModel, or a name such as llm('openai:gpt-5-mini')"
        )
        raise StrategyError(msg)


def _ask(instance: Any, attribute: Attribute[Any], model: LLMModel) -> LLMModel:
    """Let calls from now on ask *model*, and count against its quota."""
    instance.quota_scope = getattr(model, "quota_scope", None) or QuotaScope()
    instance._generate = model.generate
    instance._accepts_progress = _accepts(model.generate, "progress")
    instance.price = getattr(model, "price", None)
    return model


def _is_parser(instance: Any, attribute: Attribute[Any], parser: object) -> None:
    if not callable(parser):
        refuse(instance, attribute, parser, "a function of an LLMResponse")


def _is_temperature(instance: Any, attribute: Attribute[Any], value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN is refused with the item that it would be sent for.
    if value is not None and (not is_number or value < 0):
        remedy = "a number of at least 0, or None to leave it to the model"
        refuse(instance, attribute, value, remedy)


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class ModelStrategy(LLMCallStrategy[T], Generic[T]):
    """Asks *model* and parses what it says.

    Example::

        ModelStrategy(model, lambda response: response.text.strip())

    Args:
        model: Any ``LLMModel``. ``prepare`` and ``cleanup`` are called if it has them.
        response_parser: Makes the output of an ``LLMResponse``; by default its text. What it
            raises fails the attempt, and the tokens are counted all the same.
        temperature: ``None`` leaves it to the model.
        system: The system instruction.
        config: Settings for the model's provider.
        error_classifier: Says what the provider's errors mean; by default the model's own if it
            has one, else the run's.

    Raises:
        StrategyError: *model* has no ``generate``.
        ConfigError: Another argument is of a wrong kind.
    """

    model: LLMModel = field(
        init=False, validator=_has_generate, on_setattr=[setters.validate, _ask]
    )
    response_parser: Callable[[LLMResponse], Any] = field(init=False, validator=_is_parser)
    temperature: float | None = field(init=False, validator=_is_temperature)
    system: str | None = field(init=False, validator=one_of((str, NoneType), "a text, or None"))
    config: Mapping[str, Any] | None = field(
        init=False, validator=one_of((Mapping, NoneType), "a mapping, or None")
    )
    error_classifier: ErrorClassifier | None = field(
        init=False, validator=one_of((ErrorClassifier, NoneType), "an ErrorClassifier, or None")
    )

    def __init__(
        self,
        model: LLMModel,
        response_parser: Callable[[LLMResponse], T] | None = None,
        *,
        temperature: float | None = 0.0,
        system: str | None = None,
        config: Mapping[str, Any] | None = None,
        error_classifier: ErrorClassifier | None = None,
    ) -> None:
        own: ErrorClassifier | None = getattr(model, "error_classifier", None)
        # Set with the model, by _ask, since a call should not look them up.
        self._generate: Callable[..., Any]
        self._accepts_progress: bool
        self.model = model
        self.response_parser = response_parser or _text
        self.temperature = temperature
        self.system = system
        self.config = config
        self.error_classifier = error_classifier or own

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    @property
    def gives_text(self) -> bool:
        """Return whether the output is the model's text as it is."""
        return self.response_parser is _text

    @property
    def per_loop(self) -> bool:  # type: ignore[override]
        """Return whether the model keeps what it opens per event loop, or opens nothing."""
        managed = any(hasattr(self.model, name) for name in ("prepare", "cleanup"))
        return bool(getattr(self.model, "per_loop", not managed))

    async def prepare(self) -> None:
        """Prepare the model if it is managed."""
        await _call_if_there(self.model, "prepare")

    async def cleanup(self) -> None:
        """Clean the model up if it is managed."""
        await _call_if_there(self.model, "cleanup")

    def connection_stats(self) -> Mapping[int, ConnectionStats]:
        """Return what became of the model's connections on the running loop, by transport."""
        stats: Callable[[], Mapping[int, ConnectionStats]] | None = getattr(
            self.model, "connection_stats", None
        )
        return stats() if callable(stats) else {}

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[T, TokenUsage | None, Mapping[str, Any] | None]:
        """Ask the model once.

        Raises:
            Exception: What the model or the parser raised.
        """
        settings = self._call_settings()
        if self._accepts_progress and state is not None:
            settings["progress"] = state.progress
        response: LLMResponse = await self._generate(prompt, **settings)
        if state is not None and response.hint is not None:
            state.observe(response.hint)
        return self._finished(response)

    def compose(self, prompt: Any) -> WireRequest:
        """Write the request that :meth:`execute` would send for *prompt*, and send nothing.

        Raises:
            StrategyError: The model has no such requests, since it is no provider's own wire.
            Exception: What the model says against the prompt.
        """
        compose = getattr(self.model, "compose", None)
        if compose is None:
            msg = f"{self.model!r} cannot write its requests down; name a model by llm('openai:…')"
            raise StrategyError(msg)
        request: WireRequest = compose(prompt, **self._call_settings())
        return request

    def read_reply(
        self, reply: HttpReply, prompt: Any, state: RetryState
    ) -> tuple[T, TokenUsage | None, Mapping[str, Any] | None]:
        """Read the reply to a request that :meth:`compose` wrote, however it came.

        Args:
            reply: Status, headers and body, as they would have come online.
            prompt: The item's.
            state: The item's memory.

        Raises:
            Exception: As :meth:`execute` does for that reply.
        """
        read: Callable[[HttpReply], LLMResponse] = self.model.read_reply  # type: ignore[attr-defined]
        return self._finished(read(reply))

    def _call_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        if self.temperature is not None:
            settings["temperature"] = self.temperature
        if self.system is not None:
            settings["system_instruction"] = self.system
        if self.config is not None:
            settings["config"] = self.config
        return settings

    def _finished(
        self, response: LLMResponse
    ) -> tuple[T, TokenUsage | None, Mapping[str, Any] | None]:
        usage = counted_usage(response.token_usage)
        parsed = self._parse(response, usage)
        return parsed.output, usage, with_notes(response.metadata, parsed.notes)

    def _parse(self, response: LLMResponse, usage: TokenUsage | None) -> Parsed[T]:
        try:
            parsed: Any = self.response_parser(response)
            return parsed if isinstance(parsed, Parsed) else Parsed(cast("T", parsed))
        except Exception as error:
            attach_usage(error, usage)
            raise

    def estimate(self, prompt: Any) -> CallCost | None:
        """Return the model's own estimate, if it makes one.

        A bound on the answer in ``config`` is sent in place of the model's own, and so counts.
        """
        estimate: Callable[[Any], CallCost | None] | None = getattr(self.model, "estimate", None)
        found = None if estimate is None else estimate(prompt)
        if found is None:
            return None
        config = self.config or {}
        limit = next((config[name] for name in _LIMITS if name in config), None)
        if not isinstance(limit, int):
            return found
        return evolve(found, output_tokens=limit)

    def identity(self) -> Mapping[str, Any]:
        """Name the model with the settings that change its answers."""
        of_model = getattr(self.model, "identity", None)
        model = of_model() if callable(of_model) else {"class": type(self.model).__qualname__}
        return {
            **super().identity(),
            "model": model,
            "parser": getattr(self.response_parser, "__qualname__", ""),
            "config": dict(self.config or {}),
        }


def _accepts(function: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return name in parameters


async def _call_if_there(model: object, name: str) -> None:
    hook = getattr(model, name, None)
    if hook is not None:
        result = hook()
        if inspect.isawaitable(result):
            await result
