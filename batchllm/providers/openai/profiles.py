"""How the servers that speak Chat Completions differ from each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal

from attrs import field, frozen

from batchllm.providers.wire import Endpoint

__all__ = ["PROFILES", "ChatProfile", "SchemaMode"]

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


@frozen(kw_only=True)
class ChatProfile(Endpoint):
    """One kind of server: an ``Endpoint`` and its dialect.

    Attributes:
        max_tokens_field: What it calls the limit on an answer's tokens.
        seed_field: What it calls the seed.
        schema_mode: Whether it holds an answer to a JSON schema, or only to being JSON.
        packed_vectors: Whether it gives embeddings in base64.
        usage_in_stream: Whether a stream has to be asked for its token counts.
        own_parameters: What it accepts beside the parameters that all know.
    """

    max_tokens_field: str = "max_tokens"
    seed_field: str = "seed"
    schema_mode: SchemaMode = "json_schema"
    packed_vectors: bool = False
    usage_in_stream: bool = True
    own_parameters: frozenset[str] = field(factory=frozenset, converter=_as_names)

    @property
    def parameters(self) -> frozenset[str]:
        """The names that may be given."""
        return _OF_ALL | self.own_parameters | {self.max_tokens_field, self.seed_field}


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
