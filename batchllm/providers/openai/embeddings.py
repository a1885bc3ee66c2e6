"""Vectors for texts, by the embeddings API of OpenAI and those compatible with it."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Unpack

import msgspec
from attrs import define, field

from batchllm.classifiers import OpenAIErrorClassifier
from batchllm.core import (
    ErrorClassifier,
    MalformedResponseError,
    RetryState,
    TokenUsage,
    counted_usage,
    normalize_usage,
    one_of,
)
from batchllm.policy import JsonError, read_as, read_headers
from batchllm.providers.openai.profiles import ChatProfile, profile_of
from batchllm.providers.wire import (
    Account,
    Connected,
    ConnectionOptions,
    Embedder,
    Exchange,
    MayBeError,
    StreamReader,
    Vector,
    WireRequest,
    as_texts,
    check_names,
    check_options,
    check_vectors,
    encode,
    lasting_address,
    malformed,
    mask_options,
    request_id_of,
)
from batchllm.transport import HttpReply

__all__ = ["EmbeddingStrategy"]

_PATH: Final = "/embeddings"
_KNOWN: Final = frozenset({"dimensions", "user", "input_type", "truncate", "output_dtype"})


class _Entry(msgspec.Struct, gc=False):
    embedding: list[float] | str
    index: int | None = None


class _Reply(MayBeError, gc=False):
    data: list[_Entry] | None = None
    usage: Any = None
    model: Any = None


_DECODER: Final = msgspec.json.Decoder(_Reply, strict=False)


@define(eq=False, slots=False, init=False, repr=False)
class EmbeddingStrategy(Connected, Embedder, Exchange[_Reply]):
    """Turns each item, a text or a list of texts, into a list of vectors, one per text in order.

    Args:
        model: The provider's name of it.
        profile: The kind of server: a ``ChatProfile`` or the name of one.
        parameters: For every request, such as ``{"dimensions": 256}``.
        extra: Put into every request unchecked.
        error_classifier: Says what the provider's errors mean.
        options: See ``ConnectionOptions``.

    Raises:
        ConfigError: A parameter or an option is unknown or of a wrong kind, or an address or key
            is missing.
    """

    model: str = field(init=False, validator=one_of(str, "the model's name"))
    profile: ChatProfile = field(init=False)
    error_classifier: ErrorClassifier = field(
        init=False, validator=one_of(ErrorClassifier, "an ErrorClassifier")
    )
    _size_parameter: ClassVar[str] = "dimensions"

    def __init__(
        self,
        model: str,
        *,
        profile: ChatProfile | str = "openai",
        parameters: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        error_classifier: ErrorClassifier | None = None,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        mask_options(options)
        check_options(type(self), options, ConnectionOptions.__annotations__)
        self.model = model
        self.profile = self.endpoint = profile_of(profile)
        self.error_classifier = error_classifier or OpenAIErrorClassifier()
        check_names(parameters or {}, _KNOWN, self.profile.provider)
        account = Account.open(self.profile, options)
        self._client = account.http
        self._settings: dict[str, Any] = {**(parameters or {}), **(extra or {})}
        if self.profile.packed_vectors:
            # A quarter of the bytes that decimal digits take, and faster to read.
            self._settings.setdefault("encoding_format", "base64")
        self.quota_scope = account.scope_of(model)

    def __repr__(self) -> str:
        return f"EmbeddingStrategy({self.model!r}, {self.profile.provider})"

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
        request = self.compose(prompt)
        reply, headers = await self._post(request.path, request.body)
        hint = read_headers(headers, now_wall=time.time())
        if state is not None and hint is not None:
            state.observe(hint)
        return self._finished(reply, headers, prompt)

    def compose(self, prompt: Any) -> WireRequest:
        """Write the request for one text, or for each text of a list, and send nothing.

        Raises:
            ValueError: The item is neither a text nor a list of texts.
        """
        body = encode({"model": self.model, "input": as_texts(prompt), **self._settings})
        return WireRequest(_PATH, self.model, body)

    def read_reply(
        self, reply: HttpReply, prompt: Any, state: RetryState
    ) -> tuple[list[Vector], TokenUsage | None, Mapping[str, Any]]:
        """Read the reply to a request that :meth:`compose` wrote, however it came.

        Raises:
            Exception: As :meth:`execute` does for that reply.
        """
        read = self._read(reply.status, reply.headers, reply.body)
        return self._finished(read, reply.headers, prompt)

    def _finished(
        self, reply: _Reply, headers: Mapping[str, str], prompt: Any
    ) -> tuple[list[Vector], TokenUsage | None, Mapping[str, Any]]:
        usage = counted_usage(self._usage(reply))
        vectors = self._in_order(reply, len(as_texts(prompt)), usage)
        return vectors, usage, {"model": reply.model, "request_id": request_id_of(headers)}

    def identity(self) -> Mapping[str, Any]:
        """Name what distinguishes these vectors from another model's."""
        return {
            "class": "EmbeddingStrategy",
            "provider": self.profile.provider,
            "base_url": lasting_address(self._client.base_url),
            "model": self.model,
            "parameters": dict(self._settings),
        }

    def _decode(self, body: bytes) -> _Reply:
        try:
            return read_as(body, _DECODER)
        except JsonError as error:
            msg = f"{self._client.host} answered with no list of embeddings ({error})"
            raise MalformedResponseError(msg, status=200) from error

    def _reader(self) -> StreamReader[_Reply] | None:
        return None

    def _error_in(self, reply: _Reply) -> object:
        return reply.find_error(answered=bool(reply.data))

    def _usage(self, reply: _Reply) -> TokenUsage | None:
        return normalize_usage(reply.usage) if isinstance(reply.usage, dict) else None

    def _in_order(self, reply: _Reply, count: int, usage: TokenUsage | None) -> list[Vector]:
        entries = reply.data or []
        if all(entry.index is None for entry in entries):
            for position, entry in enumerate(entries):
                entry.index = position
        by_index = {entry.index: entry for entry in entries}
        if by_index.keys() != set(range(count)) or len(entries) != count:
            msg = (
                f"{self._client.host} gave {len(entries)} vectors for {count} texts, or numbered "
                "them wrongly"
            )
            raise malformed(msg, usage)
        vectors = [_as_vector(by_index[index].embedding, usage) for index in range(count)]
        check_vectors(vectors, self._client.host, usage)
        return vectors


def _as_vector(embedding: list[float] | str, usage: TokenUsage | None) -> Vector:
    if isinstance(embedding, list):
        return embedding
    try:
        packed = base64.b64decode("".join(embedding.split()), validate=True)
        return [number for (number,) in struct.iter_unpack("<f", packed)]
    except (ValueError, struct.error) as error:
        msg = f"a vector is no base64 of 32-bit floats ({error})"
        raise malformed(msg, usage) from error
