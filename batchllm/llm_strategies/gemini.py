"""Strategies for Gemini, with its safety ratings where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, cast

from attrs import define, field, frozen
from typing_extensions import TypeVar

from batchllm.core import (
    EmptyResponseError,
    LLMModel,
    LLMResponse,
    RetryState,
    StrategyError,
    TokenUsage,
    explain_arguments,
    switch,
)
from batchllm.llm_strategies.model import ModelStrategy
from batchllm.llm_strategies.output import is_output
from batchllm.providers import GeminiCachedModel, GeminiModel
from batchllm.structured import Parsed, output_schema, parse_noted
from batchllm.transport import HttpReply

__all__ = ["GeminiCachedStrategy", "GeminiResponse", "GeminiStrategy"]

T = TypeVar("T", default=str)


@frozen
class GeminiResponse(Generic[T]):
    """An output with what Gemini said about it.

    Attributes:
        output: The parsed answer; ``None`` in the result of an item whose answer was blocked.
        safety_ratings: Harm category to probability: ``NEGLIGIBLE``, ``LOW``, ``MEDIUM``,
            ``HIGH``.
        finish_reason: Gemini's own word: ``STOP``, ``MAX_TOKENS``, ``SAFETY`` and so on.
        token_usage: The tokens of the call.
        raw_response: The client's own reply.
    """

    output: T
    safety_ratings: Mapping[str, str] | None = None
    finish_reason: str | None = None
    token_usage: TokenUsage | None = None
    raw_response: Any = None


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class GeminiStrategy(ModelStrategy[T], Generic[T]):
    """Asks a Gemini model, or any other ``LLMModel``, and parses what it says.

    Two spellings: ``GeminiStrategy(model, response_parser)`` with an ``LLMModel``, and
    ``GeminiStrategy(model="gemini-2.5-flash", client=client, response_parser=…)``.

    Args:
        model: An ``LLMModel``, or a name, which needs *client*.
        response_parser: Makes the output of an ``LLMResponse``. By default the text, or the
            text read as *output_type*.
        temperature: For every call.
        client: For a model that is given by name: see ``GeminiModel``.
        system_instruction: For a model that is given by name.
        safety_settings: For a model that is given by name.
        output_type: What answers are to be, ``str`` by default. A model that is given by name
            is held to the JSON schema of any other.
        include_metadata: If outputs are ``GeminiResponse`` objects with safety ratings and
            finish reason. The failed result of a blocked answer then has one as its output, too.

    Raises:
        StrategyError: *model* is neither, or a name without *client*, or *client* is given
            beside a model.
        ConfigError: Another argument is of a wrong kind.
    """

    output_type: type[Any] = field(init=False, validator=is_output)
    include_metadata: bool = field(init=False, validator=switch)

    def __init__(
        self,
        model: LLMModel | str,
        response_parser: Callable[[LLMResponse], T] | None = None,
        *,
        temperature: float = 0.0,
        client: Any = None,
        system_instruction: Any = None,
        safety_settings: Sequence[Mapping[str, Any]] | None = None,
        output_type: type[T] | None = None,
        include_metadata: bool = False,
    ) -> None:
        if isinstance(model, str):
            if client is None:
                msg = (
                    f"the model {model!r} is only a name; give client=GeminiClient(api_key) or a "
                    "google.genai.Client, or write llm('gemini:…')"
                )
                raise StrategyError(msg)
            model = GeminiModel(
                model,
                client,
                safety_settings=safety_settings,
                system_instruction=system_instruction,
                schema=_schema_of(output_type),
            )
        elif client is not None or system_instruction is not None or safety_settings is not None:
            msg = (
                f"the model is a {type(model).__name__}, which has its own client and settings; "
                "give client, system_instruction and safety_settings to it"
            )
            raise StrategyError(msg)
        self.output_type = output_type or str
        self.include_metadata = include_metadata
        parser = response_parser or self._read_output
        super().__init__(model, cast("Callable[[LLMResponse], T]", parser), temperature=temperature)

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[T, TokenUsage | None, Mapping[str, Any] | None]:
        """Ask the model once.

        Raises:
            Exception: What the model or the parser raised.
        """
        try:
            return await super().execute(prompt, attempt, timeout, state)
        except EmptyResponseError as error:
            self._explain(error)
            raise

    def read_reply(
        self, reply: HttpReply, prompt: Any, state: RetryState
    ) -> tuple[T, TokenUsage | None, Mapping[str, Any] | None]:
        """Read the reply to a request that ``compose`` wrote, however it came.

        Raises:
            Exception: As :meth:`execute` does for that reply.
        """
        try:
            return super().read_reply(reply, prompt, state)
        except EmptyResponseError as error:
            self._explain(error)
            raise

    def _explain(self, error: EmptyResponseError) -> None:
        """Give the failed result of a blocked answer what was said about it."""
        if self.include_metadata and isinstance(error.response, LLMResponse):
            blocked = _with_metadata(None, error.response)
            error.output_for_result = blocked  # type: ignore[attr-defined]

    def _parse(self, response: LLMResponse, usage: TokenUsage | None) -> Parsed[T]:
        parsed = super()._parse(response, usage)
        if self.include_metadata:
            return Parsed(cast("T", _with_metadata(parsed.output, response)), parsed.notes)
        return parsed

    def _read_output(self, response: LLMResponse) -> Any:
        text = response.text
        return text if self.output_type is str else parse_noted(text, self.output_type)


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class GeminiCachedStrategy(GeminiStrategy[T], Generic[T]):
    """A ``GeminiStrategy`` on a ``GeminiCachedModel``: share one instance among all items.

    Its ``cleanup`` keeps the cache for the next run; ``delete_cache`` deletes it.

    Args:
        model: The model's name.
        client: See ``GeminiCachedModel``, as for everything about the cache below.
        response_parser: See ``GeminiStrategy``.
        cached_content: What is cached.
        system_instruction: Cached, too.
        output_type: See ``GeminiStrategy``.
        temperature: For every call.
        cache_ttl_seconds: Seconds that the cache lives after it was made or renewed.
        cache_renewal_buffer_seconds: Seconds before its end in which it is renewed.
        auto_renew: If it is renewed, and made anew when the provider no longer has it.
        cache_tags: Marks that have to match for a cache to be used again.
        safety_settings: For every request.
        delete_on_cleanup: If ``cleanup`` deletes the cache.
        include_metadata: See ``GeminiStrategy``.

    Raises:
        ConfigError: A setting of the cache is wrong.
    """

    cached_model: GeminiCachedModel = field(init=False)

    def __init__(
        self,
        model: str,
        client: Any,
        response_parser: Callable[[LLMResponse], T] | None = None,
        cached_content: Any = None,
        *,
        system_instruction: Any = None,
        output_type: type[T] | None = None,
        temperature: float = 0.0,
        cache_ttl_seconds: float = 3600,
        cache_renewal_buffer_seconds: float = 300,
        auto_renew: bool = True,
        cache_tags: Mapping[str, str] | None = None,
        safety_settings: Sequence[Mapping[str, Any]] | None = None,
        delete_on_cleanup: bool = False,
        include_metadata: bool = False,
    ) -> None:
        self.cached_model = GeminiCachedModel(
            model,
            client,
            cached_content,
            cache_ttl_seconds=cache_ttl_seconds,
            cache_renewal_buffer_seconds=cache_renewal_buffer_seconds,
            auto_renew=auto_renew,
            cache_tags=cache_tags,
            safety_settings=safety_settings,
            delete_on_cleanup=delete_on_cleanup,
            system_instruction=system_instruction,
            schema=_schema_of(output_type),
        )
        super().__init__(
            self.cached_model,
            response_parser,
            temperature=temperature,
            output_type=output_type,
            include_metadata=include_metadata,
        )

    @property
    def cache_name(self) -> str | None:
        """Return the cache's name; ``None`` before it is made and after its deletion."""
        return self.cached_model.cache_name

    async def delete_cache(self) -> None:
        """Delete the cache now; see ``GeminiCachedModel.delete_cache``."""
        await self.cached_model.delete_cache()


def _schema_of(output_type: type[Any] | None) -> Mapping[str, Any] | None:
    return None if output_type in (None, str) else output_schema(output_type).schema


def _with_metadata(output: Any, response: LLMResponse) -> GeminiResponse[Any]:
    metadata = response.metadata or {}
    return GeminiResponse(
        output,
        safety_ratings=metadata.get("safety_ratings"),
        finish_reason=metadata.get("provider_finish_reason"),
        token_usage=response.token_usage or None,
        raw_response=response.raw,
    )
