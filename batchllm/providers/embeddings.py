"""Vectors for texts, by the embeddings API of OpenAI and those compatible with it."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from batchllm.classifiers import OpenAIErrorClassifier
from batchllm.core import (
    ErrorClassifier,
    LLMCallStrategy,
    MalformedResponseError,
    QuotaScope,
    RetryState,
    TokenUsage,
    normalize_usage,
)
from batchllm.policy import JsonError, read_as, read_headers
from batchllm.providers.endpoints import lasting_address, open_client
from batchllm.providers.errors_inside import error_within
from batchllm.providers.failures import error_reply, request_id_of
from batchllm.providers.parameters import check_names
from batchllm.providers.profiles import PROFILES, ChatProfile
from batchllm.providers.request_body import encode
from batchllm.transport import ConnectionStats, HeaderValues, Http, HttpReply, Secret, mask_headers

__all__ = ["EmbeddingStrategy", "Vector", "as_texts"]

Vector = list[float]
_PATH: Final = "/embeddings"
_KNOWN: Final = frozenset({"dimensions", "user", "input_type", "truncate", "output_dtype"})


class _Entry(msgspec.Struct, gc=False):
    embedding: list[float] | str
    index: int = -1


class _Reply(msgspec.Struct, gc=False):
    data: list[_Entry] | None = None
    usage: Any = None
    error: Any = None
    model: Any = None
    # Of an error that has nothing round it:
    object: Any = None
    message: Any = None
    code: Any = None
    type: Any = None
    status: Any = None
    detail: Any = None


_DECODER: Final = msgspec.json.Decoder(_Reply, strict=False)


class EmbeddingStrategy(LLMCallStrategy[list[Vector]]):
    """Turns each item, a text or a list of texts, into a list of vectors, one per text in order.

    Args:
        model: The provider's name of it.
        profile: The kind of server: a ``ChatProfile`` or the name of one.
        base_url: Its address, where it is not the profile's.
        api_key: Sent as the profile says.
        headers: Sent with every request.
        http: An ``HttpTransport`` to share, a transport or client of httpx or httpx2, or a proxy's
            address, in place of connections of its own.
        parameters: For every request, such as ``{"dimensions": 256}``.
        extra: Put into every request unchecked.
        proxy: The address of a proxy.
        error_classifier: Says what the provider's errors mean.

    Raises:
        ConfigError: A parameter is unknown, or an address or key is missing.
    """

    def __init__(
        self,
        model: str,
        *,
        profile: ChatProfile | str = "openai",
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        headers: HeaderValues | None = None,
        http: Http | None = None,
        parameters: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        proxy: str | None = None,
        error_classifier: ErrorClassifier | None = None,
    ) -> None:
        # Masked before anything can fail: a traceback shows what local variables hold.
        api_key = None if api_key is None else Secret(api_key)
        headers = mask_headers(headers)
        self.model = model
        self.profile = PROFILES[profile] if isinstance(profile, str) else profile
        self.error_classifier = error_classifier or OpenAIErrorClassifier()
        check_names(parameters or {}, _KNOWN, self.profile.provider)
        self._client = open_client(
            self.profile,
            base_url=base_url,
            api_key=api_key,
            headers=headers,
            http=http,
            proxy=proxy,
        )
        self._settings: dict[str, Any] = {**(parameters or {}), **(extra or {})}
        if self.profile.packed_vectors:
            # A quarter of the bytes that decimal digits take, and faster to read.
            self._settings.setdefault("encoding_format", "base64")
        account = api_key.fingerprint() if api_key is not None else ""
        self.quota_scope = QuotaScope(self.profile.provider, self._client.base_url, account, model)

    def __repr__(self) -> str:
        return f"EmbeddingStrategy({self.model!r}, {self.profile.provider})"

    async def prepare(self) -> None:
        """Keep connections open until ``cleanup``."""
        self._client.hold()

    async def cleanup(self) -> None:
        """Close the connections, unless another run still holds them open."""
        await self._client.release()

    def connection_stats(self) -> Mapping[int, ConnectionStats]:
        """Return what became of the connections on the running loop, by transport."""
        return self._client.statistics()

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[list[Vector], TokenUsage | None, Mapping[str, Any]]:
        """Fetch the vectors of one text, or of each text of a list.

        Raises:
            ProviderError: The provider answered with an error.
            MalformedResponseError: Its answer has not one vector for each text.
            TransportError: No complete answer arrived.
            ValueError: The item is neither a text nor a list of texts.
        """
        texts = as_texts(prompt)
        body = encode({"model": self.model, "input": texts, **self._settings})
        http = await self._client.post_json(_PATH, body)
        reply = self._read(http)
        hint = read_headers(http.headers, now_wall=time.time())
        if state is not None and hint is not None:
            state.observe(hint)
        usage = normalize_usage(reply.usage) if isinstance(reply.usage, dict) else None
        vectors = self._in_order(reply, len(texts), usage)
        metadata = {"model": reply.model, "request_id": request_id_of(http.headers)}
        return vectors, usage, metadata

    async def dry_run(self, prompt: Any) -> tuple[list[Vector], TokenUsage]:
        """Vectors of zeros, with no call made."""
        texts = as_texts(prompt)
        usage: TokenUsage = {"input_tokens": 100, "output_tokens": 0, "total_tokens": 100}
        length = int(self._settings.get("dimensions", 8))
        return [[0.0] * length for _ in texts], usage

    def identity(self) -> Mapping[str, Any]:
        """What tells these vectors from another model's."""
        return {
            "class": "EmbeddingStrategy",
            "provider": self.profile.provider,
            "base_url": lasting_address(self._client.base_url),
            "model": self.model,
            "parameters": dict(self._settings),
        }

    def _read(self, http: HttpReply) -> _Reply:
        if not 200 <= http.status < 300:
            raise self._error(http, http.body)
        try:
            reply = read_as(http.body, _DECODER)
        except JsonError as error:
            msg = f"{self._client.host} answered with no list of embeddings ({error})"
            raise MalformedResponseError(msg, status=200) from error
        refusal = error_within(msgspec.structs.asdict(reply), answered=bool(reply.data))
        if refusal:
            raise self._error(http, refusal)
        return reply

    def _error(self, http: HttpReply, body: object) -> Exception:
        return error_reply(self.profile.provider, self._client, http.status, http.headers, body)

    def _in_order(self, reply: _Reply, count: int, usage: TokenUsage | None) -> list[Vector]:
        entries = reply.data or []
        if all(entry.index < 0 for entry in entries):
            for position, entry in enumerate(entries):
                entry.index = position
        by_index = {entry.index: entry for entry in entries}
        if by_index.keys() != set(range(count)) or len(entries) != count:
            msg = (
                f"{self._client.host} gave {len(entries)} vectors for {count} texts, or numbered "
                "them wrongly"
            )
            error = MalformedResponseError(msg, status=200)
            error.usage = usage
            raise error
        return [_as_vector(by_index[index].embedding) for index in range(count)]


def as_texts(prompt: Any) -> Sequence[str]:
    """The texts of an item to embed.

    Raises:
        ValueError: It is neither a text nor a list of texts.
    """
    if isinstance(prompt, str):
        return [prompt]
    texts: Sequence[Any] = prompt if isinstance(prompt, (list, tuple)) else ()
    if not texts or not all(isinstance(text, str) for text in texts):
        msg = (
            f"an item to embed is a text or a list of texts, not empty; this one is a "
            f"{type(prompt).__name__}"
        )
        raise ValueError(msg)
    return texts


def _as_vector(embedding: list[float] | str) -> Vector:
    if isinstance(embedding, list):
        return embedding
    try:
        return [number for (number,) in struct.iter_unpack("<f", base64.b64decode(embedding))]
    except (ValueError, struct.error) as error:
        msg = f"a vector is no base64 of 32-bit floats ({error})"
        raise MalformedResponseError(msg, status=200) from error
