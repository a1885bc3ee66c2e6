"""Gemini's File API, as far as batches need it: files under names that we choose."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import anyio
from attrs import define, field

from batchllm.core import MalformedResponseError, ProviderError, TransportError
from batchllm.provider_batch.wires.base import TakePiece
from batchllm.provider_batch.wires.control import Control
from batchllm.provider_batch.wires.controlled import text_in
from batchllm.transport import HttpClient

__all__ = ["GeminiFiles"]

_KIND: Final = "application/jsonl"
_PROCESSED_AFTER: Final = 120.0
"""Seconds until a file is given up that is still being processed: a file of lines is there at
once."""
_LOOK_EVERY: Final = 2.0
_IS_TAKEN: Final = "ALREADY_EXISTS"
_ABSENT: Final = "may not exist"
"""Part of Google's words about a file that is not there, for which it answers 403."""


@define(eq=False)
class GeminiFiles:
    """The files of one account.

    Args:
        control: Calls it.
    """

    control: Control
    _uploads: HttpClient = field(init=False)
    _downloads: HttpClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        http = self.control.http
        self._uploads = http.at(_beside(http.base_url, "upload"))
        self._downloads = http.at(_beside(http.base_url, "download"))

    async def upload(self, name: str, content: bytes) -> str:
        """Upload lines under *name*, and return the name that the provider has for them.

        If it has a file of that name already, with the same lines, it is that one; and if there
        are others in it, the new file gets a name by the provider.
        """
        chosen = _name_of(name)
        try:
            address = await self._begin(chosen, name, len(content))
        except ProviderError as error:
            if error.status != 409 and error.code != _IS_TAKEN:
                raise
            there = await self._get(chosen)
            if there is not None and _has(there, content):
                return await self._processed(there)
            address = await self._begin(None, name, len(content))
        reply = await self.control.upload(
            self._target(address),
            _KIND,
            content,
            headers={"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"},
            at=self._uploads,
        )
        file = reply.get("file")
        return await self._processed(file if isinstance(file, dict) else reply)

    async def _begin(self, chosen: str | None, shown: str, size: int) -> str:
        """Begin an upload; return the address for its bytes."""
        about = {"displayName": shown, "mimeType": _KIND}
        if chosen is not None:
            about["name"] = chosen
        reply = await self.control.ask(
            "POST",
            "/files",
            json.dumps({"file": about}).encode(),
            headers={
                "x-goog-upload-protocol": "resumable",
                "x-goog-upload-command": "start",
                "x-goog-upload-header-content-length": str(size),
                "x-goog-upload-header-content-type": _KIND,
            },
            at=self._uploads,
        )
        address = reply.headers.get("x-goog-upload-url", "")
        if not address:
            msg = f"{self.control.http.host} began an upload and gave no address for its bytes"
            raise MalformedResponseError(msg, status=reply.status)
        return address

    def _target(self, address: str) -> str:
        """Return where the bytes go: to our own address of the API with the upload's id.

        The address that was given may be on another host, behind a gateway, and the key must not
        go there.
        """
        return f"/files?{urlsplit(address).query}"

    async def find(self, name: str, size: int) -> Sequence[str]:
        """Return the provider's name of the file that was uploaded under *name*, if it is there."""
        file = await self._get(_name_of(name))
        if file is None or str(file.get("sizeBytes")) != str(size) or _is_broken(file):
            return ()
        return (await self._processed(file),)

    async def _get(self, file_id: str) -> dict[str, Any] | None:
        try:
            return await self.control.call("GET", _path(file_id))
        except ProviderError as error:
            if error.status in (403, 404):
                return None
            raise

    async def _processed(self, file: Mapping[str, Any]) -> str:
        """Return the name of a file when it can be used."""
        name = text_in(file, "name", "an upload")
        with anyio.move_on_after(_PROCESSED_AFTER):
            while file.get("state") == "PROCESSING":
                await anyio.sleep(_LOOK_EVERY)
                file = await self._get(name) or {}
            if not _is_broken(file):
                return name
        msg = f"{self.control.http.host} took the file {name}, and could not process it"
        raise TransportError(msg, sent=True)

    async def download(self, file_id: str, take: TakePiece) -> None:
        """Pass the pieces of a file to *take*, one by one."""
        path = f"{_path(file_id)}:download?alt=media"
        try:
            await self.control.download(path, take, at=self._downloads)
        except ProviderError as error:
            if error.status == 403 and _ABSENT in str(error):
                raise ProviderError(str(error), status=404, code=error.code) from error
            raise

    async def delete(self, file_id: str) -> None:
        """Delete a file; one that is gone is no error."""
        try:
            await self.control.delete(_path(file_id))
        except ProviderError as error:
            if error.status != 403:
                raise


def _beside(base_url: str, part: str) -> str:
    """Return the address of a part of the API: its name stands before the version, which is last.

    Of an address without a path the part is at the root: the host is never taken for a version.
    """
    url = urlsplit(base_url)
    root, _, version = url.path.rpartition("/")
    return urlunsplit(url._replace(path=f"{root}/{part}/{version}".rstrip("/")))


def _name_of(name: str) -> str:
    """Return the provider's name for a file of ours: small letters, digits and hyphens, 40."""
    return f"files/{name.removesuffix('.jsonl')}"


def _path(file_id: str) -> str:
    return f"/files/{quote(file_id.removeprefix('files/'), safe='')}"


def _is_broken(file: Mapping[str, Any]) -> bool:
    return file.get("state") == "FAILED"


def _has(file: Mapping[str, Any], content: bytes) -> bool:
    """Return whether a file has these bytes: its hash is that of the digest's hexadecimal text."""
    if str(file.get("sizeBytes")) != str(len(content)) or _is_broken(file):
        return False
    digest = hashlib.sha256(content)
    known = (digest.hexdigest().encode(), digest.digest())
    said = file.get("sha256Hash")
    return said is None or said in [base64.b64encode(one).decode() for one in known]
