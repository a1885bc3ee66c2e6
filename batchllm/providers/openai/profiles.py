"""The differences between the servers that speak Chat Completions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal

from attrs import Factory, field, frozen

from batchllm.core import ConfigError, kind_of
from batchllm.providers.wire import Endpoint

__all__ = ["PROFILES", "ChatProfile", "SchemaMode", "profile_of"]

SchemaMode = Literal["json_schema", "json_object"]

_OF_ALL: Final = frozenset(
    {
        "audio",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "metadata",
        "modalities",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
_OF_OPEN_MODELS: Final = frozenset({"min_p", "repetition_penalty", "top_k"})


def _as_names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


def _parameters(profile: ChatProfile) -> frozenset[str]:
    own = {profile.max_tokens_field, profile.seed_field}
    return _OF_ALL | profile.own_parameters | own


def _wire_names(profile: ChatProfile) -> tuple[tuple[str, str], ...]:
    return ("max_tokens", profile.max_tokens_field), ("seed", profile.seed_field)


@frozen(kw_only=True)
class ChatProfile(Endpoint):
    """One kind of server: an ``Endpoint`` and its dialect.

    Attributes:
        max_tokens_field: Its name for the limit on an answer's tokens.
        seed_field: Its name for the seed.
        schema_mode: If it holds an answer to a JSON schema, or only to being JSON.
        packed_vectors: If it gives embeddings in base64.
        usage_in_stream: If a stream has to be asked for its token counts.
        own_parameters: Names that it accepts beside those that all know.
    """

    max_tokens_field: str = "max_tokens"
    seed_field: str = "seed"
    schema_mode: SchemaMode = "json_schema"
    packed_vectors: bool = False
    usage_in_stream: bool = True
    own_parameters: frozenset[str] = field(factory=frozenset, converter=_as_names)
    parameters: frozenset[str] = field(init=False, default=Factory(_parameters, takes_self=True))
    wire_names: tuple[tuple[str, str], ...] = field(
        init=False, default=Factory(_wire_names, takes_self=True)
    )


def _by_provider(*profiles: ChatProfile) -> Mapping[str, ChatProfile]:
    return MappingProxyType({profile.provider: profile for profile in profiles})


PROFILES: Final = _by_provider(
    ChatProfile(
        provider="openai",
        base_url="https://api.openai.com/v1",
        packed_vectors=True,
        max_tokens_field="max_completion_tokens",
    ),
    ChatProfile(
        provider="azure",
        key_variables=("AZURE_OPENAI_API_KEY",),
        # The second is the one that Azure's own tools read; its v1 API stands below it.
        address_variables=("AZURE_OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT/openai/v1"),
        auth_header="api-key",
        packed_vectors=True,
        auth_prefix="",
        max_tokens_field="max_completion_tokens",
        own_parameters={"data_sources"},
    ),
    ChatProfile(
        provider="openrouter",
        base_url="https://openrouter.ai/api/v1",
        own_parameters=_OF_OPEN_MODELS
        | {"include_reasoning", "models", "plugins", "provider", "reasoning", "route", "top_a"}
        | {"transforms", "usage"},
    ),
    ChatProfile(
        provider="deepseek",
        base_url="https://api.deepseek.com",
        schema_mode="json_object",
        own_parameters={"thinking", "user_id"},
    ),
    ChatProfile(
        provider="groq",
        base_url="https://api.groq.com/openai/v1",
        max_tokens_field="max_completion_tokens",
        own_parameters={"include_reasoning", "reasoning_format"},
    ),
    ChatProfile(
        provider="mistral",
        base_url="https://api.mistral.ai/v1",
        seed_field="random_seed",
        usage_in_stream=False,
        own_parameters={"prompt_mode", "safe_prompt"},
    ),
    ChatProfile(
        provider="together",
        base_url="https://api.together.xyz/v1",
        own_parameters=_OF_OPEN_MODELS | {"context_length_exceeded_behavior", "safety_model"},
    ),
    ChatProfile(
        provider="ollama",
        base_url="http://localhost:11434/v1",
        needs_key=False,
        own_parameters={"keep_alive", "options", "think"},
    ),
    ChatProfile(
        provider="vllm",
        base_url="http://localhost:8000/v1",
        packed_vectors=True,
        needs_key=False,
        own_parameters=_OF_OPEN_MODELS
        | {"add_generation_prompt", "chat_template_kwargs", "guided_json", "ignore_eos"}
        | {"min_tokens", "priority", "stop_token_ids", "structured_outputs"},
    ),
    ChatProfile(
        provider="openai-compatible",
        needs_key=False,
        own_parameters=_OF_OPEN_MODELS | {"max_completion_tokens"},
    ),
)


def profile_of(given: ChatProfile | str) -> ChatProfile:
    """Return the profile that *given* is or names.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(given, ChatProfile):
        return given
    if given in PROFILES:
        return PROFILES[given]
    near = difflib.get_close_matches(str(given), sorted(PROFILES), n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"give one of {', '.join(PROFILES)}"
    msg = f"profile is {given if isinstance(given, str) else kind_of(given)!r}; {meant}"
    raise ConfigError(msg)
