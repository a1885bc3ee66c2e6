"""One request and its reply, whole or streamed, up to the error that the reply may be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, NoReturn, Protocol, TypeVar, cast

from batchllm.core import MalformedResponseError, TokenUsage
from batchllm.policy import JsonError, read_json
from batchllm.providers.wire.endpoints import Endpoint
from batchllm.providers.wire.error_replies import Peer, error_reply
from batchllm.providers.wire.streamed import (
    EventReader,
    is_events,
    read_events,
    read_stream,
    unframed,
)
from batchllm.transport import HttpClient, beginning

__all__ = [
    "Exchange",
    "JsonObject",
    "Progress",
    "ReplyFormat",
    "StreamReader",
    "decode_event",
    "decode_object",
    "not_readable",
]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

JsonObject = dict[str, Any]
Progress = Callable[[], None]
Headers = Mapping[str, str]


class StreamReader(EventReader, Protocol[R_co]):
    """Puts a streamed answer together."""

    @property
    def usage(self) -> TokenUsage | None:
        """The token counts, as far as they have arrived."""
        ...

    @property
    def has_begun(self) -> bool:
        """Return whether part of the answer has come."""
        ...

    def reply(self) -> R_co:
        """Return the reply that the server would have sent without a stream.

        Raises:
            MalformedResponseError: The stream ended before the answer did.
        """
        ...


class ReplyFormat(ABC, Generic[R]):
    """The reading of a server's replies: as an *R*, or as the error that one is.

    A reply that is a stream of events is read as one, and one that is not is read as a whole,
    whatever was asked for and whatever its headers say.
    """

    @property
    @abstractmethod
    def _provider(self) -> str:
        """The provider's name, for messages."""

    @property
    def _usual_address(self) -> str:
        """The provider's own address, as an example for one that is wrong."""
        return ""

    @property
    @abstractmethod
    def _peer(self) -> Peer:
        """The stand-in for the server in messages."""

    @abstractmethod
    def _decode(self, body: bytes) -> R:
        """Read a whole body.

        Raises:
            MalformedResponseError: It cannot be read.
        """

    @abstractmethod
    def _reader(self) -> StreamReader[R] | None:
        """Return what puts a streamed answer together; ``None`` if answers never are streams."""

    @abstractmethod
    def _error_in(self, reply: R) -> object:
        """Return the error in a reply with status 200, as the body of an error reply."""

    @abstractmethod
    def _usage(self, reply: R) -> TokenUsage | None:
        """Return the token counts of a reply."""

    def _read(self, status: int, headers: Headers, body: bytes) -> R:
        if not 200 <= status < 300:
            self._fail(status, headers, body, None)
        if is_events(body) and (answer := self._reader()) is not None:
            read_events(body, answer)
            return self._end(answer, headers)
        try:
            reply = self._decode(body)
        except MalformedResponseError:
            pieces, pieced = unframed(body), self._reader()
            if not pieces or pieced is None:
                raise
            for piece in pieces:
                if not pieced.error:
                    pieced.add(piece)
            return self._end(pieced, headers)
        error = self._error_in(reply)
        if error:
            self._fail(200, headers, error, self._usage(reply))
        return reply

    def _end(self, answer: StreamReader[R], headers: Headers) -> R:
        if answer.error:
            self._fail(200, headers, answer.error, answer.usage, cut_off=answer.has_begun)
        return answer.reply()

    def _fail(
        self,
        status: int,
        headers: Headers,
        body: object,
        usage: TokenUsage | None,
        *,
        cut_off: bool = False,
    ) -> NoReturn:
        error = error_reply(self._provider, self._peer, status, headers, body, self._usual_address)
        error.usage, error.cut_off = usage, cut_off
        raise error


class Exchange(ReplyFormat[R], Generic[R]):
    """Sends requests over our own HTTP, and reads the replies."""

    endpoint: Endpoint
    _client: HttpClient

    @property
    def _provider(self) -> str:
        return self.endpoint.provider

    @property
    def _usual_address(self) -> str:
        return self.endpoint.base_url

    @property
    def _peer(self) -> HttpClient:
        return self._client

    async def _post(self, path: str, body: bytes, method: str = "POST") -> tuple[R, Headers]:
        """Send *body* and read the reply.

        Raises:
            ProviderError: The provider answered with an error.
            MalformedResponseError: Its answer cannot be read, or is not whole.
            TransportError: No complete answer arrived.
        """
        whole = await self._client.request_json(method, path, body)
        return self._read(whole.status, whole.headers, whole.body), whole.headers

    async def _stream(self, path: str, body: bytes, progress: Progress | None) -> tuple[R, Headers]:
        """Send *body* and read the reply piece by piece; errors as for ``_post``.

        Args:
            path: Where to.
            body: Asks for a stream.
            progress: Called when the request starts, and for each piece of its answer.
        """
        if progress is not None:
            progress()
        async with self._client.stream(path, body) as stream:
            if not 200 <= stream.status < 300:
                self._fail(stream.status, stream.headers, await stream.read(), None)
            answer = self._reader()
            assert answer is not None
            content = await read_stream(stream, self._client, answer, progress)
        if content is None:
            return self._end(answer, stream.headers), stream.headers
        return self._read(stream.status, stream.headers, content), stream.headers


def decode_object(body: bytes, client: Peer) -> JsonObject:
    """Read a body that has to be one JSON object.

    Args:
        body: JSON; blank lines before it are what a waiting server sends.
        client: Named in messages, which do not show its keys.

    Raises:
        MalformedResponseError: It is cut off, or is no JSON object.
    """
    reply = _read_one(body, client)
    if not isinstance(reply, dict):
        raise not_readable(body, client, "JSON object", f"it is a {type(reply).__name__}")
    return cast("JsonObject", reply)


def decode_event(data: str, client: Peer) -> JsonObject:
    """Read the data of one event; what is no JSON object (``null``, a number) says nothing.

    Raises:
        MalformedResponseError: It is no JSON, so that a piece of the answer may be lost.
    """
    event = _read_one(data.encode("utf-8", "replace"), client)
    return cast("JsonObject", event) if isinstance(event, dict) else {}


def _read_one(body: bytes, client: Peer) -> Any:
    """Read JSON; of a list that begins with an error, which Gemini sends, return the error."""
    try:
        value = read_json(body, keep_halves=True)
    except JsonError as error:
        raise not_readable(body, client, "JSON object", str(error)) from error
    if isinstance(value, list) and value and isinstance(value[0], dict) and value[0].get("error"):
        return value[0]
    return value


def not_readable(body: bytes, client: Peer, what: str, why: str) -> MalformedResponseError:
    """Make the error for a *body* that is no *what*; it shows the body's beginning."""
    shown = beginning(body, client.redact)
    msg = (
        f"{client.host} answered with {len(body):,} bytes that are no {what} ({why}); they "
        f"begin {shown!r}"
    )
    return MalformedResponseError(msg, status=200)
