"""Batches of OpenAI, and of servers that speak its wire: files of lines, and batches over them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlsplit

from attrs import define, field

from batchllm.provider_batch.pacing import WireLimits
from batchllm.provider_batch.refinding import Strength
from batchllm.provider_batch.states import Chunk
from batchllm.provider_batch.verdicts import (
    BatchProblem,
    LineKind,
    LineOutcome,
    is_about_the_account,
)
from batchllm.provider_batch.wires.base import Page, RemoteBatch, RemoteKind, TakePiece
from batchllm.provider_batch.wires.control import multipart
from batchllm.provider_batch.wires.controlled import (
    ControlledWire,
    objects_in,
    page_of,
    text_in,
)
from batchllm.providers import WireRequest

__all__ = ["OPENAI_PROVIDERS", "OpenAIBatches"]

_DAY: Final = 86_400.0
_LIMITS: Final[Mapping[str, WireLimits]] = MappingProxyType(
    {
        "openai": WireLimits(lines=50_000, bytes=200_000_000, inputs=50_000, create_spacing=1.8),
        "azure": WireLimits(lines=100_000, bytes=200_000_000),
        "groq": WireLimits(lines=50_000, bytes=100_000_000),
        "openai-compatible": WireLimits(lines=50_000, bytes=100_000_000),
        "sim": WireLimits(lines=50_000, bytes=200_000_000, inputs=50_000, create_spacing=1.8),
    }
)
"""Limits by provider: OpenAI's 2,000 creates an hour are one each 1.8 s."""
OPENAI_PROVIDERS: Final = frozenset(_LIMITS)

_KINDS: Final[Mapping[str, RemoteKind]] = MappingProxyType(
    {
        "validating": RemoteKind.WAITING,
        "in_progress": RemoteKind.RUNNING,
        "finalizing": RemoteKind.RUNNING,
        "cancelling": RemoteKind.CANCELLING,
        "canceling": RemoteKind.CANCELLING,
        "completed": RemoteKind.DONE,
        "expired": RemoteKind.PARTIAL,
        "cancelled": RemoteKind.PARTIAL,
        "canceled": RemoteKind.PARTIAL,
        "failed": RemoteKind.REJECTED,
    }
)
_NOT_RUN: Final = frozenset({"batch_expired", "batch_cancelled", "batch_canceled"})


@define(eq=False)
class OpenAIBatches(ControlledWire):
    """One account's batches on OpenAI's wire.

    Args:
        control: Calls it.
        window: The completion window, as the provider writes it.
    """

    window: str = "24h"
    strength: Strength = field(default=Strength.EXACT, init=False)
    absent_after: float = field(default=300.0, init=False)
    has_files: bool = field(default=True, init=False)
    stacks: bool = field(default=False, init=False)

    @property
    def limits(self) -> WireLimits:
        """Return the provider's limits."""
        return _LIMITS[self.provider]

    def is_of(self, remote: RemoteBatch, chunk: Chunk) -> bool:
        """Return whether a batch is one of *chunk*: by what it was created with, or its file."""
        if chunk.name.is_in(remote.metadata):
            return True
        return chunk.file_id is not None and remote.file_id == chunk.file_id

    # -- lines -----------------------------------------------------------------------------------

    def endpoint_of(self, path: str) -> str:
        """Return the endpoint of requests with a path, as batches name it.

        Azure's addresses with an ``api-version`` have no ``/v1`` in them, and neither have its
        lines then.
        """
        classic = "api-version" in urlsplit(self.control.http.base_url).query
        return path if classic else f"/v1{path}"

    def write_line(self, custom_id: str, request: WireRequest) -> bytes:
        """Return the line of a request, with its line feed."""
        return b'{"custom_id":"%s","method":"POST","url":"%s","body":%s}\n' % (
            custom_id.encode(),
            self.endpoint_of(request.path).encode(),
            request.body,
        )

    def _read_row(self, name: str | None, row: Mapping[str, Any]) -> LineOutcome:
        response = row.get("response")
        if isinstance(response, dict):
            return _answered(name, response, row.get("error"))
        return _without_answer(name, row.get("error"))

    # -- calls -----------------------------------------------------------------------------------

    async def identify(self) -> None:
        """Ask for one batch, so that the account and its clock are known."""
        await self.control.call("GET", "/batches", query={"limit": "1"})

    async def upload(self, name: str, content: bytes) -> str:
        """Upload a file and return the provider's id of it."""
        kind, body = multipart({"purpose": "batch"}, name, content)
        reply = await self.control.upload("/files", kind, body)
        return text_in(reply, "id", "an upload")

    async def find_files(self, name: str, size: int) -> Sequence[str]:
        """Return the ids of uploaded files of that name and size."""
        query = {"purpose": "batch", "order": "desc", "limit": "10000"}
        reply = await self.control.call("GET", "/files", query=query)
        return [
            str(one["id"])
            for one in objects_in(reply.get("data"))
            if one.get("filename") == name and one.get("bytes") == size and one.get("id")
        ]

    async def create(self, chunk: Chunk, content: bytes | None) -> RemoteBatch:
        """Create the batch of a chunk whose file is uploaded."""
        wanted = {
            "input_file_id": chunk.file_id,
            "endpoint": self.endpoint_of(chunk.path),
            "completion_window": self.window,
            "metadata": chunk.name.metadata,
        }
        return read_batch(await self.control.call("POST", "/batches", json.dumps(wanted).encode()))

    async def fetch(self, batch_id: str) -> RemoteBatch:
        """Return one batch."""
        return read_batch(await self.control.call("GET", f"/batches/{quote(batch_id, safe='')}"))

    async def list_batches(self, after: str | None) -> Page:
        """Return a page of the account's batches, the newest first."""
        query = {"limit": "100"} if after is None else {"limit": "100", "after": after}
        reply = await self.control.call("GET", "/batches", query=query)
        return page_of(reply, read_batch)

    async def cancel(self, batch_id: str) -> RemoteBatch | None:
        """Ask for the end of a batch."""
        path = f"/batches/{quote(batch_id, safe='')}/cancel"
        return read_batch(await self.control.call("POST", path))

    async def download(self, output: str, take: TakePiece) -> None:
        """Pass the pieces of a result file to *take*, one by one."""
        await self.control.download(f"/files/{quote(output, safe='')}/content", take)

    async def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is gone is no error."""
        await self.control.delete(f"/files/{quote(file_id, safe='')}")


def read_batch(given: Mapping[str, Any]) -> RemoteBatch:
    """Read the description of a batch.

    A status that is not known is no end: the next poll may know better.

    Raises:
        MalformedResponseError: It has no id, so that it describes nothing.
    """
    status = str(given.get("status") or "")
    counts = given.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    total, done = _count(counts, "total"), _count(counts, "completed", "failed")
    low = status.lower()
    metadata = given.get("metadata")
    # An empty text stands for no file with some servers, and a file of no bytes with others.
    outputs = [given.get(name) for name in ("output_file_id", "error_file_id")]
    return RemoteBatch(
        id=text_in(given, "id", "a batch"),
        kind=_KINDS.get(low, RemoteKind.RUNNING),
        status=status,
        created=_number(given.get("created_at")),
        expires=_number(given.get("expires_at")),
        total=total,
        done=done,
        expired=low == "expired",
        cancelled=low in ("cancelled", "canceled"),
        outputs=tuple(one for one in outputs if isinstance(one, str) and one),
        problems=tuple(_problems(given.get("errors"))),
        metadata=metadata if isinstance(metadata, dict) else {},
        file_id=given.get("input_file_id"),
    )


def _problems(errors: Any) -> list[BatchProblem]:
    listed = errors.get("data") if isinstance(errors, dict) else errors
    return [
        BatchProblem(
            str(one.get("code") or ""),
            str(one.get("message") or ""),
            one["line"] if type(one.get("line")) is int else None,
        )
        for one in objects_in(listed)
    ]


def _answered(name: str | None, response: Mapping[str, Any], error: Any) -> LineOutcome:
    status, body = response.get("status_code"), response.get("body")
    request_id = response.get("request_id")
    request_id = request_id if isinstance(request_id, str) else None
    if type(status) is not int or not status or (200 <= status < 300 and not body):
        # Seen though all were counted as completed: a status of 0 with an empty body.
        text = _said(error) or f"an answer with status {status!r} and no body"
        return LineOutcome(custom_id=name, kind=LineKind.UNKNOWN, request_id=request_id, text=text)
    if 200 <= status < 300:
        return LineOutcome(
            custom_id=name, kind=LineKind.OK, status=status, body=body, request_id=request_id
        )
    text = _said(body.get("error") if isinstance(body, dict) else body) or _said(error)
    account = status in (401, 402, 403) or is_about_the_account(text)
    return LineOutcome(
        custom_id=name,
        kind=LineKind.ACCOUNT if account else LineKind.HTTP_ERROR,
        status=status,
        body=body if body is not None else {"error": error},
        request_id=request_id,
        text=text,
    )


def _without_answer(name: str | None, error: Any) -> LineOutcome:
    code = error.get("code") if isinstance(error, dict) else error
    text = _said(error)
    if isinstance(code, str) and code.lower() in _NOT_RUN:
        return LineOutcome(custom_id=name, kind=LineKind.NOT_RUN, text=text)
    if is_about_the_account(text):
        return LineOutcome(custom_id=name, kind=LineKind.ACCOUNT, text=text)
    if code == "request_timeout":
        body = {"error": {"code": code, "message": text}}
        return LineOutcome(
            custom_id=name, kind=LineKind.HTTP_ERROR, status=408, body=body, text=text
        )
    return LineOutcome(
        custom_id=name, kind=LineKind.UNKNOWN, text=text or "neither answer nor error"
    )


def _said(error: Any) -> str:
    """Return code and message of an error, which may be an object or a text."""
    if isinstance(error, dict):
        parts = [error.get(part) for part in ("code", "type", "message")]
        return ": ".join(str(part) for part in parts if part)
    return "" if error is None else str(error)


def _count(counts: Mapping[str, Any], *names: str) -> int | None:
    found = [counts[name] for name in names if type(counts.get(name)) is int]
    return sum(found) if found else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
