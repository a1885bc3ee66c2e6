"""Gemini's ``generateContent``, over our own client or Google's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import Attribute, define, field

from batchllm.classifiers import GeminiErrorClassifier
from batchllm.core import (
    CallCost,
    Check,
    ConfigError,
    ErrorClassifier,
    LLMResponse,
    QuotaScope,
    StrategyError,
    check_sendable,
    explain_arguments,
    one_of,
    switch,
)
from batchllm.providers.gemini.client import GEMINI, GeminiClient
from batchllm.providers.gemini.config import read_parameters
from batchllm.providers.gemini.prompt import as_contents, as_instruction
from batchllm.providers.gemini.reply import read_reply
from batchllm.providers.wire import HeldToSchema, Progress, WireRequest, as_dict, cost_of
from batchllm.transport import ConnectionStats, HttpReply, Secret, WithoutKeys

if TYPE_CHECKING:
    from batchllm.structured import SchemaRules

__all__ = ["GeminiModel", "OverGemini", "has_method", "quota_scope_of", "second_instruction"]


def has_method(name: str) -> Check:
    """Make the validator of a client: it has to have ``aio.models.<name>``."""

    def check(instance: Any, attribute: Attribute[Any], client: Any) -> None:
        if not hasattr(getattr(getattr(client, "aio", None), "models", None), name):
            msg = (
                f"client is a {type(client).__name__}; give a GeminiClient(api_key) or a "
                "google.genai.Client"
            )
            raise ConfigError(msg)

    return check


class OverGemini:
    """Keeps the connections of a ``GeminiClient`` open from ``prepare`` to ``cleanup``."""

    per_loop = True

    client: Any

    async def prepare(self) -> None:
        """Keep the connections of a ``GeminiClient`` open until the matching ``cleanup``."""
        if isinstance(self.client, GeminiClient):
            self.client.hold()

    async def cleanup(self) -> None:
        """Close the connections of a ``GeminiClient``, unless another run holds them open."""
        if isinstance(self.client, GeminiClient):
            await self.client.release()

    def own_client(self) -> GeminiClient:
        """Return the client, whose requests can be written down.

        Raises:
            StrategyError: It is another library's.
        """
        if not isinstance(self.client, GeminiClient):
            kind = f"{type(self.client).__module__}.{type(self.client).__name__}"
            msg = f"the requests of a {kind} cannot be written down; give a GeminiClient"
            raise StrategyError(msg)
        return self.client

    def connection_stats(self) -> Mapping[int, ConnectionStats]:
        """Return what became of the connections on the running loop, by transport."""
        return self.client.http.statistics() if isinstance(self.client, GeminiClient) else {}


def _as_settings(given: Mapping[str, Any] | None) -> dict[str, Any]:
    return read_parameters({"temperature": 0.0} if given is None else given)


def _can_stream(instance: GeminiModel, attribute: Attribute[Any], stream: bool) -> None:
    switch(instance, attribute, stream)
    if stream and not isinstance(instance.client, GeminiClient):
        client = type(instance.client).__name__
        msg = f"stream=True needs a GeminiClient; client is a {client}"
        raise ConfigError(msg)


@explain_arguments()
@define(eq=False, slots=False, repr=False)
class GeminiModel(OverGemini, HeldToSchema):
    """One Gemini model; an ``LLMModel`` that can be shared.

    Args:
        model: Its name, such as ``"gemini-2.5-flash"``.
        client: A ``GeminiClient``, a ``google.genai.Client``, or anything that has the latter's
            ``aio.models.generate_content``.
        safety_settings: For every request: ``[{"category": …, "threshold": …}]``.
        system_instruction: For every request that has none of its own.
        parameters: For every request, such as ``{"temperature": 0.2, "max_tokens": 500}``. By
            default the temperature is 0.
        extra: Put into every request unchecked; with Google's client, into its ``config``.
        schema: A JSON schema that answers have to follow. An answer that is no JSON is then a
            ``ValueError``.
        stream: If answers are asked for chunk by chunk, so that a stall is noticed. Only a
            ``GeminiClient`` does so.

    Raises:
        ConfigError: *client* is not a valid client, cannot stream though it should, or another
            argument is of a wrong kind or unknown.
    """

    schema_rules: ClassVar[SchemaRules | None] = "gemini"

    model: str = field(validator=one_of(str, "the model's name"))
    client: Any = field(validator=has_method("generate_content"))
    safety_settings: Sequence[Mapping[str, Any]] | None = field(
        default=None,
        kw_only=True,
        validator=one_of((list, tuple, NoneType), "a list of {'category': …, 'threshold': …}"),
    )
    system_instruction: Any = field(default=None, kw_only=True)
    _settings: dict[str, Any] = field(
        default=None, kw_only=True, alias="parameters", converter=_as_settings
    )
    _extra: dict[str, Any] = field(default=None, kw_only=True, alias="extra", converter=as_dict)
    schema: Mapping[str, Any] | None = field(
        default=None, kw_only=True, validator=one_of((Mapping, NoneType), "a JSON schema, or None")
    )
    stream: bool = field(default=False, kw_only=True, validator=_can_stream)

    def __attrs_post_init__(self) -> None:
        self.error_classifier: ErrorClassifier = GeminiErrorClassifier()
        self.quota_scope = quota_scope_of(self.model, self.client)
        of_parameters = self._settings.pop("system_instruction", None)
        self._system = self.system_instruction or of_parameters
        if self.safety_settings:
            self._settings["safety_settings"] = list(self.safety_settings)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {type(self.client).__name__})"

    async def generate(
        self,
        prompt: Any,
        *,
        temperature: float | None = None,
        system_instruction: Any = None,
        config: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> LLMResponse:
        """Answer *prompt*.

        Args:
            prompt: A text, chat messages, content parts, or the contents of Google's SDK.
            temperature: ``None`` leaves it to the model's parameters.
            system_instruction: In place of the model's own.
            config: Settings for this call by the names of Google's SDK, such as
                ``response_mime_type``; ``"extra"`` in it is sent unchecked.
            progress: Called when a streamed request starts, and for each chunk of its answer.

        Raises:
            ProviderError: The provider answered with an error; Google's client raises its own.
            MalformedResponseError: Its answer cannot be read, or is not whole.
            EmptyResponseError: A filter left no answer.
            TransportError: No complete answer arrived.
            ConfigError: A parameter in *config* is unknown.
            ValueError: The prompt has a wrong shape, a system instruction meets a cached
                context, or the answer is no JSON where it must be.
        """
        settings, contents = self._asked(prompt, temperature, system_instruction, config)
        check_sendable({"contents": contents, **settings})
        models = self.client.aio.models
        if self.stream:
            reply = await models.stream_content(
                model=self.model, contents=contents, config=settings, progress=progress
            )
        else:
            plain = prompt if isinstance(prompt, str) else contents
            with WithoutKeys(self.client):
                reply = await models.generate_content(
                    model=self.model, contents=plain, config=settings
                )
        return self._finished(reply)

    def compose(
        self,
        prompt: Any,
        *,
        temperature: float | None = None,
        system_instruction: Any = None,
        config: Mapping[str, Any] | None = None,
    ) -> WireRequest:
        """Write the request that :meth:`generate` would send for *prompt*, and send nothing.

        It asks for no stream and for no tier of service, since what carries it gives whole answers
        and has a price of its own. The arguments and errors are those of :meth:`generate`.
        """
        settings, contents = self._asked(prompt, temperature, system_instruction, config)
        models = self.own_client().aio.models
        return models.compose(model=self.model, contents=contents, config=settings)

    def read_reply(self, reply: HttpReply) -> LLMResponse:
        """Read the reply to a request that :meth:`compose` wrote, however it came.

        Raises:
            Exception: As :meth:`generate` does for that reply.
        """
        return self._finished(self.own_client().aio.models.read(reply))

    def _asked(
        self,
        prompt: Any,
        temperature: float | None,
        of_call: Any,
        config: Mapping[str, Any] | None,
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the settings of a call, and its contents."""
        settings = self._merge(temperature, config)
        system, contents = as_contents(prompt)
        self._add_instruction(settings, system, of_call)
        return settings, contents

    def _finished(self, reply: object) -> LLMResponse:
        response = read_reply(reply, {})
        self._check(response)
        return response

    def estimate(self, prompt: Any) -> CallCost | None:
        """Estimate the tokens of a call; ``None`` if no ``max_tokens`` bounds the answer."""
        return cost_of(prompt, self._settings.get("max_output_tokens"))

    def identity(self) -> Mapping[str, Any]:
        """Name what distinguishes this model's answers, for records; no secrets."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "provider": GEMINI.provider,
            "base_url": self.quota_scope.base_url,
            "model": self.model,
            "system_instruction": None if self._system is None else as_instruction(self._system),
            "parameters": {**self._settings, **self._extra},
            "schema": self.schema,
        }

    def _merge(self, temperature: float | None, config: Mapping[str, Any] | None) -> dict[str, Any]:
        settings = dict(self._settings)
        if temperature is not None:
            settings["temperature"] = temperature
        if self.schema is not None:
            settings["response_mime_type"] = "application/json"
            settings["response_json_schema"] = self.schema
        given = dict(config or {})
        extra = {**self._extra, **(given.pop("extra", None) or {})}
        settings.update(read_parameters(given))
        if isinstance(self.client, GeminiClient):
            return {**settings, "extra": extra} if extra else settings
        return {**settings, **extra}

    def _add_instruction(
        self, settings: dict[str, Any], of_prompt: list[dict[str, Any]], of_call: Any
    ) -> None:
        if "cached_content" in settings:
            if of_call is not None or of_prompt or "system_instruction" in settings:
                raise second_instruction()
            return
        instruction = settings.pop("system_instruction", None) or of_call or self._system
        if of_prompt:
            own = [] if instruction is None else as_instruction(instruction)["parts"]
            settings["system_instruction"] = {"parts": [*own, *of_prompt]}
        elif instruction is not None:
            settings["system_instruction"] = instruction


def second_instruction() -> ValueError:
    """Make the error for a system instruction beside a cached context."""
    msg = (
        "system_instruction cannot be given for a call with a cached context: it is part of the "
        "cache; give it where the cache is made"
    )
    return ValueError(msg)


def quota_scope_of(model: str, client: Any) -> QuotaScope:
    """Return the quota that calls of *model* through *client* count against."""
    if isinstance(client, GeminiClient):
        return QuotaScope(GEMINI.provider, client.http.base_url, client.account, model)
    # Google's client keeps its key where only it should look; without it, accounts are one scope.
    key = getattr(getattr(client, "_api_client", None), "api_key", None)
    account = Secret(key).fingerprint() if isinstance(key, str) and key else ""
    return QuotaScope(GEMINI.provider, "", account, model)
