"""Vectors for texts, by Gemini."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, cast

from attrs import define, field

from batchllm.classifiers import GeminiErrorClassifier
from batchllm.core import (
    ErrorClassifier,
    RetryState,
    TokenUsage,
    counted_usage,
    explain_arguments,
    one_of,
)
from batchllm.providers.gemini.model import OverGemini, has_method, quota_scope_of
from batchllm.providers.gemini.reply import look, read_usage
from batchllm.providers.wire import (
    Embedder,
    OnlineOnlyError,
    Vector,
    WireRequest,
    as_dict,
    as_texts,
    check_names,
    check_vectors,
    malformed,
)
from batchllm.transport import HttpReply, WithoutKeys

__all__ = ["GeminiEmbeddingStrategy"]

_KNOWN: Final = frozenset({"auto_truncate", "output_dimensionality", "task_type", "title"})


def _check_parameters(instance: Any, attribute: Any, parameters: Mapping[str, Any]) -> None:
    check_names(parameters, _KNOWN, "gemini")


def _or_own(given: ErrorClassifier | None) -> ErrorClassifier:
    return given or GeminiErrorClassifier()


@explain_arguments()
@define(eq=False, slots=False, repr=False)
class GeminiEmbeddingStrategy(OverGemini, Embedder):
    """Turns each item, a text or a list of texts, into a list of vectors, one per text in order.

    Args:
        model: The model's name, such as ``"gemini-embedding-001"``.
        client: A ``GeminiClient``, a ``google.genai.Client``, or anything that has the latter's
            ``aio.models.embed_content``.
        parameters: For every request, such as ``{"output_dimensionality": 256}``.
        error_classifier: Says what the provider's errors mean.

    Raises:
        ConfigError: A parameter is unknown, or *client* or another argument is of a wrong kind.
    """

    model: str = field(validator=one_of(str, "the model's name"))
    client: Any = field(validator=has_method("embed_content"))
    _settings: dict[str, Any] = field(
        default=None,
        kw_only=True,
        alias="parameters",
        converter=as_dict,
        validator=_check_parameters,
    )
    error_classifier: ErrorClassifier = field(
        default=None,
        kw_only=True,
        converter=_or_own,
        validator=one_of(ErrorClassifier, "an ErrorClassifier"),
    )
    _size_parameter: ClassVar[str] = "output_dimensionality"

    def __attrs_post_init__(self) -> None:
        self.quota_scope = self._scope = quota_scope_of(self.model, self.client)

    def __repr__(self) -> str:
        return f"GeminiEmbeddingStrategy({self.model!r}, {type(self.client).__name__})"

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[list[Vector], TokenUsage | None, Mapping[str, Any]]:
        """Fetch the vectors of one text, or of each text of a list.

        Raises:
            ProviderError: The provider answered with an error; Google's client raises its own.
            MalformedResponseError: Its answer has not one vector for each text.
            TransportError: No complete answer arrived.
            ValueError: The item is neither a text nor a list of texts.
        """
        texts = list(as_texts(prompt))
        with WithoutKeys(self.client):
            reply = await self.client.aio.models.embed_content(
                model=self.model, contents=texts, config=self._settings or None
            )
        return self._finished(reply, look(reply, "embeddings"), len(texts))

    def compose(self, prompt: Any) -> WireRequest:
        """Write the request for one text, and send nothing.

        Raises:
            StrategyError: The client is another library's.
            OnlineOnlyError: The item is a list of several texts, and one request has one vector.
            ValueError: The item is neither a text nor a list of texts.
        """
        texts = as_texts(prompt)
        if len(texts) > 1:
            msg = "a request of a batch of Gemini's has one text, and an item has several"
            raise OnlineOnlyError(msg)
        models = self.own_client().aio.models
        return models.compose_embedding(
            model=self.model, contents=texts[0], config=self._settings or None
        )

    def read_reply(
        self, reply: HttpReply, prompt: Any, state: RetryState
    ) -> tuple[list[Vector], TokenUsage | None, Mapping[str, Any]]:
        """Read the reply to a request that :meth:`compose` wrote, however it came.

        Raises:
            Exception: As :meth:`execute` does for that reply.
        """
        read = self.own_client().aio.models.read(reply)
        return self._finished(read, [look(read, "embedding")], 1)

    def _finished(
        self, reply: object, given: object, count: int
    ) -> tuple[list[Vector], TokenUsage | None, Mapping[str, Any]]:
        usage = counted_usage(read_usage(reply))
        vectors = [look(one, "values") for one in given] if isinstance(given, list) else []
        if len(vectors) != count:
            msg = f"gemini gave {len(vectors)} vectors for {count} texts"
            raise malformed(msg, usage)
        check_vectors(vectors, "gemini", usage)
        return cast("list[Vector]", vectors), usage, {"model": self.model}

    def identity(self) -> Mapping[str, Any]:
        """Name what distinguishes these vectors from another model's."""
        return {
            "class": "GeminiEmbeddingStrategy",
            "provider": "gemini",
            "base_url": self._scope.base_url,
            "model": self.model,
            "parameters": dict(self._settings),
        }
