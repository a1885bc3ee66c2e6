"""Batches of the Gemini API: files of lines with keys, and operations over them.

Requests are never sent in the create itself: answers to such ones are reported to come in another
order than their requests, and vectors without any key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import anyio
from attrs import define, field

from batchllm.provider_batch.pacing import WireLimits
from batchllm.provider_batch.refinding import Strength
from batchllm.provider_batch.states import Chunk
from batchllm.provider_batch.verdicts import LineOutcome
from batchllm.provider_batch.wires.base import Page, RemoteBatch, TakePiece
from batchllm.provider_batch.wires.controlled import ControlledWire, objects_in
from batchllm.provider_batch.wires.gemini_files import GeminiFiles
from batchllm.provider_batch.wires.gemini_replies import read_batch, read_row
from batchllm.providers import WireRequest

__all__ = ["GeminiBatches"]

_TWO_DAYS: Final = 2 * 86_400.0
_LIMITS: Final = WireLimits(
    lines=50_000,  # no number is documented
    bytes=2_000_000_000,
    batches=100,
    cancel_seconds=900.0,  # nothing is documented; minutes were seen
    window=_TWO_DAYS,
    retention=_TWO_DAYS,  # of files; results are files, too
    # Refusals of creates were seen to last for tens of minutes, and to come back with the fifth of
    # a few minutes.
    longest_pause=1_800.0,
    refused_spacing=60.0,
)
_VERBS: Final[Mapping[str, str]] = MappingProxyType(
    {"generateContent": "batchGenerateContent", "embedContent": "asyncBatchEmbedContent"}
)
"""By the verb that a request has online: the one that creates a batch of such requests."""


@define(eq=False)
class GeminiBatches(ControlledWire):
    """One account's batches at the Gemini API.

    Args:
        control: Calls it.
        absent_after: Seconds after a create from which empty lists prove that there is no batch. It
            is not documented how soon a list has a new one.
    """

    absent_after: float = 600.0
    strength: Strength = field(default=Strength.EXACT, init=False)
    has_files: bool = field(default=True, init=False)
    stacks: bool = field(default=False, init=False)
    _files: GeminiFiles = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._files = GeminiFiles(self.control)

    @property
    def limits(self) -> WireLimits:
        """Return the provider's limits."""
        return _LIMITS

    def is_of(self, remote: RemoteBatch, chunk: Chunk) -> bool:
        """Return whether a batch is one of *chunk*: by the name that it shows, or its file."""
        if chunk.name.is_in(remote.metadata):
            return True
        return chunk.file_id is not None and remote.file_id == chunk.file_id

    # -- lines -----------------------------------------------------------------------------------

    def write_line(self, custom_id: str, request: WireRequest) -> bytes:
        """Return the line of a request, with its line feed."""
        return b'{"key":"%s","request":%s}\n' % (custom_id.encode(), request.body)

    def _name_of(self, row: Mapping[str, Any]) -> Any:
        beside = row.get("metadata")
        return row.get("key") or (beside.get("key") if isinstance(beside, dict) else None)

    def _read_row(self, name: str | None, row: Mapping[str, Any]) -> LineOutcome:
        return read_row(name, row)

    # -- calls -----------------------------------------------------------------------------------

    async def identify(self) -> None:
        """Ask for one batch, so that the account's clock is known."""
        await self.control.call("GET", "/batches", query={"pageSize": "1"})

    async def upload(self, name: str, content: bytes) -> str:
        """Upload a file and return the provider's id of it."""
        return await self._files.upload(name, content)

    async def find_files(self, name: str, size: int) -> Sequence[str]:
        """Return the ids of uploaded files of that name and size."""
        return await self._files.find(name, size)

    async def create(self, chunk: Chunk, content: bytes | None) -> RemoteBatch:
        """Create the batch of a chunk whose file is uploaded."""
        model, _, verb = chunk.path.rpartition(":")
        wanted = {
            "batch": {
                "displayName": chunk.name.display,
                "inputConfig": {"fileName": chunk.file_id},
            }
        }
        path = f"{model}:{_VERBS[verb]}"
        return read_batch(await self.control.call("POST", path, json.dumps(wanted).encode()))

    async def fetch(self, batch_id: str) -> RemoteBatch:
        """Return one batch."""
        reply = await self.control.call("GET", _path(batch_id))
        offset = self.clock_offset
        now = None if offset is None else offset + anyio.current_time()
        return read_batch(reply, now=now)

    async def list_batches(self, after: str | None) -> Page:
        """Return a page of the account's batches."""
        query = {"pageSize": "100"} if after is None else {"pageSize": "100", "pageToken": after}
        reply = await self.control.call("GET", "/batches", query=query)
        found = objects_in(reply.get("operations") or reply.get("batches"))
        more = reply.get("nextPageToken")
        return Page([read_batch(one, is_listed=True) for one in found], str(more) if more else None)

    async def cancel(self, batch_id: str) -> RemoteBatch | None:
        """Ask for the end of a batch; the answer says nothing."""
        await self.control.call("POST", f"{_path(batch_id)}:cancel", b"{}")
        return None

    async def download(self, output: str, take: TakePiece) -> None:
        """Pass the pieces of a result file to *take*, one by one."""
        await self._files.download(output, take)

    async def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is gone is no error."""
        await self._files.delete(file_id)


def _path(batch_id: str) -> str:
    return f"/batches/{quote(batch_id.removeprefix('batches/'), safe='')}"
