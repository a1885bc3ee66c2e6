"""Gemini's File API, as far as batches need it: uploads that begin, bytes that follow, and files
under names that the client may choose."""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Protocol

from attrs import define, field

from batchllm.simulator.batches.files import File
from batchllm.simulator.batches.store import Batches, short
from batchllm.simulator.rendering import whole
from batchllm.simulator.wires import WireReply, WireRequest, http_date, timestamp

__all__ = ["GeminiFiles"]

_NAME = re.compile(r"^files/[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$")


class Fails(Protocol):
    """Answers with an error of Gemini's."""

    def __call__(self, status: int, code: str, message: str, now: float) -> WireReply:
        """Answer with status, Google's name of the error, and a message."""
        ...


@define(eq=False)
class _Upload:
    name: str
    display: str
    account: str
    content: bytes = b""


@define(eq=False)
class GeminiFiles:
    """The files of all accounts.

    Args:
        store: The batches.
        fail: Answers with an error.
    """

    store: Batches
    fail: Fails
    _files: dict[str, File] = field(factory=dict, init=False)
    _uploads: dict[str, _Upload] = field(factory=dict, init=False)

    def find(self, name: str, account: str, now: float) -> File | None:
        """Return a file that an account has by now."""
        file = self._files.get(name)
        if file is None or file.account != account:
            return None
        return None if now - file.created > self.store.behaviour.files_kept else file

    def keep(
        self,
        name: str,
        account: str,
        content: bytes | Callable[[], bytes],
        now: float,
        display: str = "",
    ) -> File:
        """Keep a file."""
        file = File(
            id=name, account=account, name=display, purpose="", created=now, content=content
        )
        self._files[name] = file
        return file

    def begin(self, request: WireRequest, account: str, now: float) -> WireReply:
        """Begin an upload; the address for its bytes is in a header."""
        about = (json.loads(request.body or b"{}") or {}).get("file") or {}
        name = about.get("name") or f"files/{short(f'{account}/{len(self._uploads)}/{now}')}"
        if not _NAME.match(name):
            text = f"File name {name!r} is not valid: at most 40 of a-z, 0-9 and hyphens."
            return self.fail(400, "INVALID_ARGUMENT", text, now)
        if self.find(name, account, now) is not None:
            return self.fail(409, "ALREADY_EXISTS", f"Requested entity {name} already exists.", now)
        mark = short(f"{name}/{len(self._uploads)}")
        self._uploads[mark] = _Upload(name, about.get("displayName") or "", account)
        host = request.headers.get("host", "api.test")
        if self.store.behaviour.results_elsewhere:
            host = "elsewhere.invalid"
        address = f"http://{host}{request.path}?upload_id={mark}&upload_protocol=resumable"
        return _done(b"{}", "active", now, ("x-goog-upload-url", address))

    def put(self, request: WireRequest, now: float) -> WireReply:
        """Take bytes; the file is there with the last of them."""
        upload = self._uploads.get(request.query["upload_id"])
        if upload is None:
            return self.fail(404, "NOT_FOUND", "There is no such upload.", now)
        upload.content += request.body
        if "finalize" not in request.headers.get("x-goog-upload-command", ""):
            return _done(b"", "active", now)
        file = self.keep(upload.name, upload.account, upload.content, now, upload.display)
        body = json.dumps({"file": self.described(file)}).encode()
        return _done(body, "final", now)

    def described(self, file: File) -> dict[str, Any]:
        """Return the description of a file."""
        content = file.read()
        digest = sha256(content).hexdigest().encode()
        shown = {"displayName": file.name} if file.name else {}
        return {
            "name": file.id,
            **shown,
            "mimeType": "application/jsonl",
            "sizeBytes": str(len(content)),
            "createTime": timestamp(file.created),
            "expirationTime": timestamp(file.created + 2 * 86_400),
            "sha256Hash": b64encode(digest).decode(),
            "uri": f"https://generativelanguage.googleapis.com/v1beta/{file.id}",
            "state": "ACTIVE",
        }

    def listed(self, account: str, now: float) -> list[dict[str, Any]]:
        """Return the files of an account, the newest first."""
        names = list(reversed(self._files))
        found = [self.find(name, account, now) for name in names]
        return [self.described(file) for file in found if file is not None]

    def delete(self, name: str) -> None:
        """Forget a file."""
        self._files.pop(name, None)


def _done(body: bytes, status: str, now: float, *headers: tuple[str, str]) -> WireReply:
    """Answer a step of an upload, which is then active or final."""
    always = (("x-goog-upload-status", status), ("date", http_date(now)))
    return whole(200, body, headers=(*headers, *always))
