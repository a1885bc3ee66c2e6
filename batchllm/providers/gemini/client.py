"""Gemini's API over our own HTTP, with the small part of ``google.genai.Client`` that we use.

``client.aio.models.generate_content`` and ``embed_content``, and ``client.aio.caches`` with
``create``, ``get``, ``list``, ``update`` and ``delete``: all clients that have these can be
exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Unpack
from urllib.parse import quote

from attrs import frozen

from batchllm.core import TokenUsage
from batchllm.providers.gemini.config import as_cache_request, as_request
from batchllm.providers.gemini.prompt import as_contents, camel_case
from batchllm.providers.gemini.reply import read_usage
from batchllm.providers.gemini.resources import CachedContent, CachePager, read_cache
from batchllm.providers.gemini.stream import GeminiStream
from batchllm.providers.wire import (
    Account,
    Endpoint,
    Exchange,
    JsonObject,
    Progress,
    ServerOptions,
    WireRequest,
    check_options,
    decode_object,
    encode,
    error_within,
)
from batchllm.transport import HttpClient, HttpReply, Secret, mask_headers

__all__ = ["GEMINI", "GeminiClient"]

GEMINI: Final = Endpoint(
    provider="gemini",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    auth_header="x-goog-api-key",
    auth_prefix="",
    # The second is what Google's own tools call it.
    key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
)

_ONLINE_ONLY: Final = ("serviceTier", "service_tier")
"""Parts of a request that make no sense in a batch, under either of their names."""


class GeminiClient:
    """One account at Gemini's API, on any event loop.

    Example::

        GeminiModel("gemini-2.5-flash", GeminiClient(api_key))

    Args:
        api_key: ``None`` if *http* adds it. It never shows in messages or records.
        options: See ``ServerOptions``. An address has the version of the API in it, such as
            ``https://generativelanguage.googleapis.com/v1beta``; by default it is
            ``GEMINI_BASE_URL`` from the environment, as for ``llm("gemini:…")``, else Google's.

    Raises:
        ConfigError: There is no key and no transport that could have one, or an option is
            unknown or of a wrong kind.
    """

    def __init__(
        self, api_key: str | Secret | None = None, **options: Unpack[ServerOptions]
    ) -> None:
        # Masked before anything can fail: a traceback shows what local variables hold.
        api_key = None if api_key is None else Secret(api_key)
        options["headers"] = mask_headers(options.get("headers"))
        check_options(type(self), options, ServerOptions.__annotations__)
        account = Account.open(GEMINI, {**options, "api_key": api_key})
        self.http = account.http
        self.account = account.fingerprint
        self.aio = _Resources(_Models(self.http), _Caches(self.http))

    def __repr__(self) -> str:
        # Also of one that is half made: tracebacks with locals show that.
        return f"GeminiClient({self.http.base_url if hasattr(self, 'http') else '…'!r})"

    def hold(self) -> None:
        """Stay open until each holder has called :meth:`release`."""
        self.http.hold()

    async def release(self) -> None:
        """Undo one :meth:`hold`; the last one closes the connections."""
        await self.http.release()


@frozen
class _Resource(Exchange[JsonObject]):
    _client: HttpClient
    endpoint = GEMINI

    def _decode(self, body: bytes) -> JsonObject:
        return decode_object(body, self._client)

    def _reader(self) -> GeminiStream:
        return GeminiStream(self._client)

    def _error_in(self, reply: JsonObject) -> object:
        # Caches and vectors have no candidates, and nothing that an error has.
        return error_within(reply, answered="candidates" in reply)

    def _usage(self, reply: JsonObject) -> TokenUsage | None:
        return read_usage(reply)

    def read(self, reply: HttpReply) -> JsonObject:
        """Read a reply, however it came.

        Raises:
            ProviderError: It is an error.
            MalformedResponseError: It cannot be read, or is not whole.
        """
        return self._read(reply.status, reply.headers, reply.body)


@frozen
class _Models(_Resource):
    async def generate_content(
        self, *, model: str, contents: Any, config: Mapping[str, Any] | None = None
    ) -> JsonObject:
        """Return the reply to *contents* as the wire has it.

        Args:
            model: Its name.
            contents: In any shape that a prompt may have.
            config: Settings by the names of Google's SDK; what is under ``"extra"`` is put into
                the request unchecked.
        """
        path = f"/{_model_path(model)}:generateContent"
        reply, _ = await self._post(path, _encoded(contents, config))
        return reply

    async def stream_content(
        self,
        *,
        model: str,
        contents: Any,
        config: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> JsonObject:
        """Like :meth:`generate_content`, fetched chunk by chunk and put together.

        Args:
            model: Its name.
            contents: In any shape that a prompt may have.
            config: As for :meth:`generate_content`.
            progress: Called when the request starts, and for each chunk of its answer.
        """
        path = f"/{_model_path(model)}:streamGenerateContent?alt=sse"
        reply, _ = await self._stream(path, _encoded(contents, config), progress)
        return reply

    async def embed_content(
        self, *, model: str, contents: Any, config: Mapping[str, Any] | None = None
    ) -> JsonObject:
        """Return the vectors of one text or of several, under ``"embeddings"``, in their order."""
        name = _model_path(model)
        texts = [contents] if isinstance(contents, str) else contents
        requests = [{"model": name, **_to_embed(text, config)} for text in texts]
        if len(requests) == 1:
            vector, _ = await self._post(f"/{name}:embedContent", encode(requests[0]))
            return {**vector, "embeddings": [vector.get("embedding")]}
        body = encode({"requests": requests})
        reply, _ = await self._post(f"/{name}:batchEmbedContents", body)
        return reply

    def compose(
        self, *, model: str, contents: Any, config: Mapping[str, Any] | None = None
    ) -> WireRequest:
        """Write the request of :meth:`generate_content`, and send nothing.

        It asks for no tier of service, since what carries it has a price of its own.
        """
        request = _request(contents, config)
        for name in _ONLINE_ONLY:
            request.pop(name, None)
        return WireRequest(f"/{_model_path(model)}:generateContent", model, encode(request))

    def compose_embedding(
        self, *, model: str, contents: str, config: Mapping[str, Any] | None = None
    ) -> WireRequest:
        """Write the request of :meth:`embed_content` for one text, and send nothing.

        The model is in its path alone.
        """
        body = encode(_to_embed(contents, config))
        return WireRequest(f"/{_model_path(model)}:embedContent", model, body)


@frozen
class _Caches(_Resource):
    async def create(self, *, model: str, config: Mapping[str, Any]) -> CachedContent:
        """Make a cache; *config* has ``contents``, ``system_instruction``, ``ttl`` and so on."""
        body = encode(as_cache_request(_model_path(model), config))
        return read_cache(await self._ask("POST", "/cachedContents", body))

    async def get(self, *, name: str) -> CachedContent:
        """Look at a cache."""
        return read_cache(await self._ask("GET", _cache_path(name)))

    async def list(self, *, config: Mapping[str, Any] | None = None) -> CachePager:
        """List all caches of the account, for ``async for``."""
        size = (config or {}).get("page_size", 100)

        async def fetch(token: str) -> JsonObject:
            mark = f"&pageToken={quote(token, safe='')}" if token else ""
            return await self._ask("GET", f"/cachedContents?pageSize={size}{mark}")

        return CachePager(fetch, await fetch(""))

    async def update(self, *, name: str, config: Mapping[str, Any]) -> CachedContent:
        """Give a cache another ``ttl``, such as ``"3600s"``, from now on."""
        fields = camel_case(config)
        path = f"{_cache_path(name)}?updateMask={','.join(fields)}"
        return read_cache(await self._ask("PATCH", path, encode(fields)))

    async def delete(self, *, name: str) -> None:
        """End a cache."""
        await self._ask("DELETE", _cache_path(name))

    async def _ask(self, method: str, path: str, body: bytes = b"") -> JsonObject:
        reply, _ = await self._post(path, body, method)
        return reply


@frozen
class _Resources:
    models: _Models
    caches: _Caches


def _model_path(model: str) -> str:
    return model if "/" in model else f"models/{quote(model, safe='')}"


def _cache_path(name: str) -> str:
    return f"/{name}" if "/" in name else f"/cachedContents/{name}"


def _encoded(contents: Any, config: Mapping[str, Any] | None) -> bytes:
    return encode(_request(contents, config))


def _request(contents: Any, config: Mapping[str, Any] | None) -> JsonObject:
    extra = (config or {}).get("extra") or {}
    return {**as_request(contents, config), **extra}


def _to_embed(text: Any, config: Mapping[str, Any] | None) -> JsonObject:
    content = {"parts": as_contents(text)[1][0]["parts"]}
    return {"content": content, **camel_case(config or {})}
