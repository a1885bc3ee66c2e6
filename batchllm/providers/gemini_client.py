"""Gemini's API over our own HTTP, with the small part of ``google.genai.Client``'s face we use.

``client.aio.models.generate_content`` and ``embed_content``, and ``client.aio.caches`` with
``create``, ``get``, ``list``, ``update`` and ``delete``: whoever speaks these can be exchanged.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final, NoReturn
from urllib.parse import quote

from attrs import frozen

from batchllm.core import ProviderError, TokenUsage
from batchllm.providers.endpoints import Endpoint, open_client
from batchllm.providers.errors_inside import error_within
from batchllm.providers.failures import error_reply
from batchllm.providers.gemini_config import as_cache_request, as_request
from batchllm.providers.gemini_prompt import as_contents, camel_case
from batchllm.providers.gemini_reply import read_usage
from batchllm.providers.gemini_resources import CachedContent, CachePager, read_cache
from batchllm.providers.gemini_stream import GeminiStream
from batchllm.providers.request_body import encode
from batchllm.providers.streamed import is_events, read_events, read_stream
from batchllm.providers.wire_model import JsonObject, Progress, decode_object
from batchllm.transport import (
    HeaderValues,
    Http,
    HttpClient,
    HttpReply,
    Secret,
    mask_headers,
)

__all__ = ["GEMINI", "GeminiClient"]

GEMINI: Final = Endpoint(
    provider="gemini",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    auth_header="x-goog-api-key",
    auth_prefix="",
)


class GeminiClient:
    """One account at Gemini's API, on any event loop.

    Args:
        api_key: ``None`` where *http* adds it. It never shows in messages or records.
        base_url: The address, with the version of the API.
        http: An ``HttpTransport`` to share, a transport or client of httpx or httpx2, or a proxy's
            address, in place of connections of its own.
        headers: Sent with every request.
        verify: See ``HttpClient``.
        proxy: See ``HttpClient``.

    Raises:
        ConfigError: There is no key and no transport that could have one.
    """

    def __init__(
        self,
        api_key: str | Secret | None = None,
        *,
        base_url: str | None = None,
        http: Http | None = None,
        headers: HeaderValues | None = None,
        verify: bool | str | ssl.SSLContext = True,
        proxy: str | None = None,
    ) -> None:
        # Masked before anything can fail: a traceback shows what local variables hold.
        api_key = None if api_key is None else Secret(api_key)
        headers = mask_headers(headers)
        self.http = open_client(
            GEMINI,
            base_url=base_url,
            api_key=api_key,
            headers=headers,
            http=http,
            verify=verify,
            proxy=proxy,
        )
        self.account = "" if api_key is None else api_key.fingerprint()
        self.aio = _Doors(_Models(self.http), _Caches(self.http))

    def __repr__(self) -> str:
        return f"GeminiClient({self.http.base_url!r})"

    def hold(self) -> None:
        """Stay open until each holder has called :meth:`release`."""
        self.http.hold()

    async def release(self) -> None:
        """Undo one :meth:`hold`; the last one closes the connections."""
        await self.http.release()


@frozen
class _Models:
    _http: HttpClient

    async def generate_content(
        self, *, model: str, contents: Any, config: Mapping[str, Any] | None = None
    ) -> JsonObject:
        """The reply to *contents* as the wire has it.

        Args:
            model: Its name.
            contents: In any shape that a prompt may have.
            config: Settings by the names of Google's SDK; what is under ``"extra"`` is put into
                the request unchecked.
        """
        body = _encoded(contents, config)
        reply = await self._http.post_json(f"/{_model_path(model)}:generateContent", body)
        return _read(self._http, reply)

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
        if progress is not None:
            progress()
        path = f"/{_model_path(model)}:streamGenerateContent?alt=sse"
        async with self._http.stream(path, _encoded(contents, config)) as stream:
            if not 200 <= stream.status < 300:
                _fail(self._http, stream.status, stream.headers, await stream.read(), None)
            answer = GeminiStream(self._http)
            content = await read_stream(stream, self._http, answer, progress)
        if content is None:
            return _end(self._http, answer, stream.headers)
        return _read(self._http, HttpReply(stream.status, stream.headers, content))

    async def embed_content(
        self, *, model: str, contents: Any, config: Mapping[str, Any] | None = None
    ) -> JsonObject:
        """The vectors of one text or of several, under ``"embeddings"``, in their order."""
        name = _model_path(model)
        texts = [contents] if isinstance(contents, str) else contents
        settings = camel_case(config or {})
        requests = [
            {"model": name, "content": {"parts": as_contents(text)[1][0]["parts"]}, **settings}
            for text in texts
        ]
        if len(requests) == 1:
            reply = await self._http.post_json(f"/{name}:embedContent", encode(requests[0]))
            vector = _read(self._http, reply)
            return {**vector, "embeddings": [vector.get("embedding")]}
        body = encode({"requests": requests})
        return _read(self._http, await self._http.post_json(f"/{name}:batchEmbedContents", body))


@frozen
class _Caches:
    _http: HttpClient

    async def create(self, *, model: str, config: Mapping[str, Any]) -> CachedContent:
        """Make a cache; *config* has ``contents``, ``system_instruction``, ``ttl`` and so on."""
        body = encode(as_cache_request(_model_path(model), config))
        return read_cache(await self._ask("POST", "/cachedContents", body))

    async def get(self, *, name: str) -> CachedContent:
        """Look at a cache."""
        return read_cache(await self._ask("GET", _cache_path(name)))

    async def list(self, *, config: Mapping[str, Any] | None = None) -> CachePager:
        """All caches of the account, to be gone through with ``async for``."""
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
        return _read(self._http, await self._http.request_json(method, path, body))


@frozen
class _Doors:
    models: _Models
    caches: _Caches


def _model_path(model: str) -> str:
    return model if "/" in model else f"models/{quote(model, safe='')}"


def _cache_path(name: str) -> str:
    return f"/{name}" if "/" in name else f"/cachedContents/{name}"


def _encoded(contents: Any, config: Mapping[str, Any] | None) -> bytes:
    extra = (config or {}).get("extra") or {}
    return encode({**as_request(contents, config), **extra})


def _end(http: HttpClient, answer: GeminiStream, headers: Mapping[str, str]) -> JsonObject:
    if answer.error:
        _fail(http, 200, headers, answer.error, answer.usage)
    return answer.reply()


def _read(http: HttpClient, reply: HttpReply) -> JsonObject:
    if not 200 <= reply.status < 300:
        _fail(http, reply.status, reply.headers, reply.body, None)
    if is_events(reply.body):
        answer = GeminiStream(http)
        read_events(reply.body, answer)
        return _end(http, answer, reply.headers)
    body = decode_object(reply.body, http)
    # Replies of other resources, such as caches, have no candidates and no loose error either.
    error = error_within(body, answered="type" not in body and "code" not in body)
    if error:
        _fail(http, 200, reply.headers, error, read_usage(body))
    return body


def _fail(
    http: HttpClient,
    status: int,
    headers: Mapping[str, str],
    body: object,
    usage: TokenUsage | None,
) -> NoReturn:
    error: ProviderError = error_reply(
        GEMINI.provider, http, status, headers, body, GEMINI.base_url
    )
    error.usage = usage
    raise error
