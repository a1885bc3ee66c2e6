"""Anthropic's Message Batches: requests in the create itself, and results in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from attrs import define, field

from batchllm.provider_batch.pacing import WireLimits
from batchllm.provider_batch.refinding import Strength
from batchllm.provider_batch.states import Chunk
from batchllm.provider_batch.verdicts import LineKind, LineOutcome, is_about_the_account
from batchllm.provider_batch.wires.base import Page, RemoteBatch, RemoteKind, TakePiece
from batchllm.provider_batch.wires.controlled import (
    ControlledWire,
    page_of,
    text_in,
    time_of,
)
from batchllm.providers import WireRequest

__all__ = ["AnthropicBatches"]

_PATH: Final = "/v1/messages/batches"
_LIMITS: Final = WireLimits(
    lines=100_000,
    bytes=256_000_000,
    create_spacing=1.2,  # 50 calls a minute, for all calls of the API together
    retention=29 * 86_400.0,
)
_STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "invalid_request_error": 400,
        "not_found_error": 404,
        "request_too_large": 413,
        "rate_limit_error": 429,
        "api_error": 500,
        "timeout_error": 504,
        "overloaded_error": 529,
    }
)
_ACCOUNT: Final = frozenset({"authentication_error", "billing_error", "permission_error"})
_BEFORE, _AFTER = 60.0, 1_020.0
"""Seconds round an intent in which its batch was created: the upload takes up to 15 minutes."""


@define(eq=False)
class AnthropicBatches(ControlledWire):
    """One account's Message Batches.

    They carry no name of ours: one that may have been created is found by its time and its number
    of requests, and proved by the ids in its results.

    Args:
        control: Calls the account.
    """

    strength: Strength = field(default=Strength.STATISTICAL, init=False)
    absent_after: float = field(default=1_800.0, init=False)
    has_files: bool = field(default=False, init=False)
    stacks: bool = field(default=True, init=False)

    @property
    def limits(self) -> WireLimits:
        """Return the provider's limits."""
        return _LIMITS

    def is_of(self, remote: RemoteBatch, chunk: Chunk) -> bool:
        """Return whether a batch may be one of *chunk*: made at its time, with its number."""
        if remote.created is None or chunk.intent is None or remote.id in chunk.strangers:
            return False
        near = chunk.intent - _BEFORE <= remote.created <= chunk.intent + _AFTER
        return near and remote.total == chunk.lines

    # -- lines -----------------------------------------------------------------------------------

    def write_line(self, custom_id: str, request: WireRequest) -> bytes:
        """Return the entry of a request, with a line feed behind it."""
        return b'{"custom_id":"%s","params":%s}\n' % (custom_id.encode(), request.body)

    def _read_row(self, name: str | None, row: Mapping[str, Any]) -> LineOutcome:
        result = row.get("result")
        result = result if isinstance(result, dict) else {}
        match result.get("type"):
            case "succeeded" if isinstance(result.get("message"), dict):
                return LineOutcome(
                    custom_id=name, kind=LineKind.OK, status=200, body=result["message"]
                )
            case "canceled" | "cancelled" | "expired":
                return LineOutcome(custom_id=name, kind=LineKind.NOT_RUN, text=result["type"])
            case "errored":
                return _errored(name, result.get("error"))
            case other:
                text = f"a result of type {other!r}"
                return LineOutcome(custom_id=name, kind=LineKind.UNKNOWN, text=text)

    # -- calls -----------------------------------------------------------------------------------

    async def identify(self) -> None:
        """Ask for one batch, so that the account and its clock are known."""
        await self.control.call("GET", _PATH, query={"limit": "1"})

    async def upload(self, name: str, content: bytes) -> str:
        """Upload nothing: the create has the requests in it."""
        return ""

    async def find_files(self, name: str, size: int) -> Sequence[str]:
        """Return that there are no files."""
        return ()

    async def create(self, chunk: Chunk, content: bytes | None) -> RemoteBatch:
        """Create the batch of a chunk, with its requests."""
        entries = (content or b"").rstrip(b"\n").replace(b"\n", b",")
        body = b'{"requests":[%s]}' % entries
        return read_batch(await self.control.upload(_PATH, "application/json", body))

    async def fetch(self, batch_id: str) -> RemoteBatch:
        """Return one batch."""
        return read_batch(await self.control.call("GET", f"{_PATH}/{quote(batch_id, safe='')}"))

    async def list_batches(self, after: str | None) -> Page:
        """Return a page of the account's batches, the newest first."""
        query = {"limit": "1000"} if after is None else {"limit": "1000", "after_id": after}
        reply = await self.control.call("GET", _PATH, query=query)
        return page_of(reply, read_batch)

    async def cancel(self, batch_id: str) -> RemoteBatch | None:
        """Ask for the end of a batch; it may be that all its requests run already."""
        path = f"{_PATH}/{quote(batch_id, safe='')}/cancel"
        return read_batch(await self.control.call("POST", path, b"{}"))

    async def download(self, output: str, take: TakePiece) -> None:
        """Pass the pieces of the results to *take*.

        They are asked for at the address of the API and not at the ``results_url``, so that the key
        goes to no other host.
        """
        await self.control.download(f"{_PATH}/{quote(output, safe='')}/results", take)

    async def delete_file(self, file_id: str) -> None:
        """Delete a batch with its results; one that is gone is no error."""
        await self.control.delete(f"{_PATH}/{quote(file_id, safe='')}")


def read_batch(given: Mapping[str, Any]) -> RemoteBatch:
    """Read the description of a batch.

    Raises:
        MalformedResponseError: It has no id, so that it describes nothing.
    """
    name, status = text_in(given, "id", "a batch"), str(given.get("processing_status") or "")
    said = given.get("request_counts")
    counts = {
        key: value
        for key, value in (said.items() if isinstance(said, dict) else ())
        if type(value) is int
    }
    ended = status.lower() == "ended"
    expired, cancelled = counts.get("expired", 0) > 0, counts.get("canceled", 0) > 0
    kind = RemoteKind.RUNNING
    if ended:
        kind = RemoteKind.PARTIAL if expired or cancelled else RemoteKind.DONE
    elif status.lower() in ("canceling", "cancelling"):
        kind = RemoteKind.CANCELLING
    return RemoteBatch(
        id=name,
        kind=kind,
        status=status,
        created=time_of(given.get("created_at")),
        expires=time_of(given.get("expires_at")),
        total=sum(counts.values()) if counts else None,
        # Before the end all of them count as being processed, and that says nothing.
        done=sum(counts.values()) - counts.get("processing", 0) if ended else None,
        expired=expired,
        cancelled=cancelled,
        outputs=(name,) if ended else (),
        gone=given.get("archived_at") is not None,
    )


def _errored(name: str | None, error: Any) -> LineOutcome:
    wrapped = error if isinstance(error, dict) else {"error": {"message": str(error)}}
    inner = wrapped.get("error")
    inner = inner if isinstance(inner, dict) else wrapped
    kind, message = str(inner.get("type") or ""), str(inner.get("message") or "")
    text = f"{kind}: {message}"
    request_id = wrapped.get("request_id")
    if kind in _ACCOUNT or is_about_the_account(message):
        return LineOutcome(custom_id=name, kind=LineKind.ACCOUNT, text=text)
    return LineOutcome(
        custom_id=name,
        kind=LineKind.HTTP_ERROR,
        status=_STATUS.get(kind, 500),
        body={"type": "error", "error": inner},
        request_id=request_id if isinstance(request_id, str) else None,
        text=text,
    )
