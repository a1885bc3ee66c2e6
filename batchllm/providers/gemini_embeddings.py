"""Vectors for texts, by Gemini."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from batchllm.classifiers import GeminiErrorClassifier
from batchllm.core import (
    ErrorClassifier,
    LLMCallStrategy,
    MalformedResponseError,
    RetryState,
    TokenUsage,
)
from batchllm.providers.embeddings import Vector, as_texts
from batchllm.providers.gemini import quota_scope_of
from batchllm.providers.gemini_client import GeminiClient
from batchllm.providers.gemini_reply import look, read_usage
from batchllm.providers.parameters import check_names
from batchllm.transport import ConnectionStats

__all__ = ["GeminiEmbeddingStrategy"]

_KNOWN: Final = frozenset({"auto_truncate", "output_dimensionality", "task_type", "title"})


class GeminiEmbeddingStrategy(LLMCallStrategy[list[Vector]]):
    """Turns each item, a text or a list of texts, into a list of vectors, one per text in order.

    Args:
        model: The model's name, such as ``"gemini-embedding-001"``.
        client: A ``GeminiClient``, a ``google.genai.Client``, or anything that has the latter's
            ``aio.models.embed_content``.
        parameters: For every request, such as ``{"output_dimensionality": 256}``.
        error_classifier: Says what the provider's errors mean.

    Raises:
        ConfigError: A parameter is unknown.
    """

    takes_texts = True
    per_loop = True

    def __init__(
        self,
        model: str,
        client: Any,
        *,
        parameters: Mapping[str, Any] | None = None,
        error_classifier: ErrorClassifier | None = None,
    ) -> None:
        check_names(parameters or {}, _KNOWN, "gemini")
        self.model = model
        self.client = client
        self.error_classifier = error_classifier or GeminiErrorClassifier()
        self._scope = self.quota_scope = quota_scope_of(model, client)
        self._settings = dict(parameters or {})

    def __repr__(self) -> str:
        return f"GeminiEmbeddingStrategy({self.model!r}, {type(self.client).__name__})"

    async def prepare(self) -> None:
        """Keep the connections of a ``GeminiClient`` open until ``cleanup``."""
        if isinstance(self.client, GeminiClient):
            self.client.hold()

    async def cleanup(self) -> None:
        """Close the connections, unless someone else still holds them open."""
        if isinstance(self.client, GeminiClient):
            await self.client.release()

    def connection_stats(self) -> Mapping[int, ConnectionStats]:
        """Return what became of the connections on the running loop, by transport."""
        return self.client.http.statistics() if isinstance(self.client, GeminiClient) else {}

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
        reply = await self.client.aio.models.embed_content(
            model=self.model, contents=texts, config=self._settings or None
        )
        vectors = [look(one, "values") for one in look(reply, "embeddings") or ()]
        if len(vectors) != len(texts) or not all(isinstance(one, list) for one in vectors):
            msg = f"gemini gave {len(vectors)} vectors for {len(texts)} texts, or empty ones"
            raise MalformedResponseError(msg, status=200)
        return cast("list[Vector]", vectors), read_usage(reply), {"model": self.model}

    async def dry_run(self, prompt: Any) -> tuple[list[Vector], TokenUsage]:
        """Vectors of zeros, with no call made."""
        texts: Sequence[str] = as_texts(prompt)
        usage: TokenUsage = {"input_tokens": 100, "output_tokens": 0, "total_tokens": 100}
        length = int(self._settings.get("output_dimensionality", 8))
        return [[0.0] * length for _ in texts], usage

    def identity(self) -> Mapping[str, Any]:
        """What tells these vectors from another model's."""
        return {
            "class": "GeminiEmbeddingStrategy",
            "provider": "gemini",
            "base_url": self._scope.base_url,
            "model": self.model,
            "parameters": dict(self._settings),
        }
