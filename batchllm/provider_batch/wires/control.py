"""Control calls of a batch API: one request, one reply, and what both show of the account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import urlencode

import anyio
from attrs import define, field

from batchllm.core import MalformedResponseError, ProviderError, TransportError
from batchllm.policy import JsonError, read_json
from batchllm.provider_batch.names import account_of
from batchllm.provider_batch.wires.base import TakePiece, server_time
from batchllm.providers import error_reply
from batchllm.transport import HeaderValues, HttpClient, HttpReply

__all__ = ["Control", "multipart"]

_MOST_RESULTS: Final = 4 * 1024**3
"""Bytes of a result file: they go to the disk piece by piece, so memory is no reason for less."""
_CALL_SECONDS: Final = 120.0
_FILE_SECONDS: Final = 900.0
"""For an upload or a download: files of 200 MB are reported to take more than a minute."""
_ACCOUNT_HEADERS: Final = ("openai-organization", "openai-project", "anthropic-organization-id")


@define(eq=False)
class Control:
    """Calls one account's control endpoints, each with a time limit, and repeats nothing.

    Args:
        provider: Its name, for messages.
        http: Speaks to it.
        fingerprint: Of the key.
    """

    provider: str
    http: HttpClient
    fingerprint: str
    reported: tuple[str, ...] = field(default=(), init=False)
    clock_offset: float | None = field(default=None, init=False)
    hint: float | None = field(default=None, init=False)
    """Seconds that the last answer asks to wait, also one that is good."""
    _files: HttpClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._files = self.http.with_room(_MOST_RESULTS)

    @property
    def account(self) -> str:
        """Return what distinguishes the account, as far as its answers have shown it."""
        return account_of(self.http.base_url, self.reported, self.fingerprint)

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        headers: HeaderValues | None = None,
        seconds: float = _CALL_SECONDS,
        at: HttpClient | None = None,
    ) -> dict[str, Any]:
        """Make a call and return the JSON object that it is answered with.

        Args:
            method: Such as ``"GET"``.
            path: Behind the provider's address.
            body: JSON, or a file.
            query: Put behind the path.
            headers: Beside the client's own.
            seconds: Until it is given up.
            at: Speaks to another address of the provider.

        Raises:
            ProviderError: The answer is an error.
            MalformedResponseError: It is a success that cannot be read.
            TransportError: No complete answer arrived; ``sent`` says if the request may have.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        reply = await self.ask(method, target, body, headers=headers, seconds=seconds, at=at)
        try:
            value = read_json(reply.body) if reply.body.strip() else {}
        except JsonError as error:
            msg = f"{self.http.host} answered {method} {path} with no JSON ({error})"
            raise MalformedResponseError(msg, status=reply.status) from error
        if not isinstance(value, dict):
            value = {"data": value}
        return cast("dict[str, Any]", value)

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: HeaderValues | None = None,
        seconds: float = _CALL_SECONDS,
        at: HttpClient | None = None,
    ) -> HttpReply:
        """Make a call and return the reply, which is no error; as :meth:`call` for the rest."""
        reply = await self._send(at or self.http, method, target, body, headers, seconds)
        self._learn(reply.headers)
        if not 200 <= reply.status < 300:
            raise error_reply(self.provider, self.http, reply.status, reply.headers, reply.body)
        return reply

    async def upload(
        self,
        path: str,
        content_type: str,
        body: bytes,
        *,
        headers: HeaderValues | None = None,
        at: HttpClient | None = None,
    ) -> dict[str, Any]:
        """Send a file; as :meth:`call` for the rest."""
        headers = {**(headers or {}), "content-type": content_type}
        return await self.call("POST", path, body, headers=headers, seconds=_FILE_SECONDS, at=at)

    async def download(self, path: str, take: TakePiece, *, at: HttpClient | None = None) -> None:
        """Pass the pieces of a file to *take*, one by one; errors as for :meth:`call`."""
        files = self._files if at is None else at.with_room(_MOST_RESULTS)
        async with files.stream(path, b"", method="GET") as stream:
            self._learn(stream.headers)
            if not 200 <= stream.status < 300:
                body = await stream.read()
                raise error_reply(self.provider, self.http, stream.status, stream.headers, body)
            async for piece in stream:
                await take(piece)

    async def delete(self, path: str) -> None:
        """Delete what is at a path; what is gone is no error; others as for :meth:`call`."""
        try:
            await self.call("DELETE", path)
        except ProviderError as error:
            if error.status != 404:
                raise

    async def _send(
        self,
        http: HttpClient,
        method: str,
        target: str,
        body: bytes,
        headers: HeaderValues | None,
        seconds: float,
    ) -> HttpReply:
        with anyio.move_on_after(seconds):
            return await http.request_json(method, target, body, headers=headers)
        asked = f"{method} {target.partition('?')[0]}"
        msg = f"{self.http.host} gave no answer to {asked} in {seconds:g} s"
        raise TransportError(msg, sent=True)

    def _learn(self, headers: Mapping[str, str]) -> None:
        said = tuple(headers.get(name, "") for name in _ACCOUNT_HEADERS)
        if any(said):
            self.reported = said
        at = server_time(headers)
        if at is not None:
            self.clock_offset = at - anyio.current_time()
        self.hint = _seconds(headers.get("retry-after"))


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None


def multipart(fields: Mapping[str, str], name: str, content: bytes) -> tuple[str, bytes]:
    """Write a form with one file.

    Returns:
        Its content type and its bytes. The boundary is the file's name, which is a digest and so
        stands in no line.
    """
    boundary = f"batchllm-{name}"
    parts = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n'
        "content-type: application/jsonl\r\n\r\n"
    )
    head = "".join(parts).encode()
    body = b"".join((head, content, f"\r\n--{boundary}--\r\n".encode()))
    return f"multipart/form-data; boundary={boundary}", body
