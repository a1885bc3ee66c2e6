"""Files of a simulated provider, and the form by which one is uploaded."""

from collections.abc import Callable
from email.message import Message
from typing import Any

from attrs import define

from batchllm.simulator.wires import WireRequest

__all__ = ["File", "read_form"]

_KEPT_SECONDS = 30 * 86_400


@define(eq=False, kw_only=True)
class File:
    """A file of an account; its content may be written when it is first read."""

    id: str
    account: str
    name: str
    purpose: str
    created: float
    content: bytes | Callable[[], bytes]

    def read(self) -> bytes:
        """Return the content."""
        if not isinstance(self.content, bytes):
            self.content = self.content()
        return self.content

    def as_json(self) -> dict[str, Any]:
        """Return its description."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.read()),
            "created_at": int(self.created),
            "expires_at": int(self.created) + _KEPT_SECONDS,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


def read_form(request: WireRequest) -> tuple[dict[str, str], str, bytes | None]:
    """Read a form with one file; large files are not copied through a parser of mails."""
    boundary = _header("content-type", request.headers.get("content-type", "")).get_boundary("")
    fields: dict[str, str] = {}
    name, content = "", None
    for part in request.body.split(b"--" + boundary.encode()):
        header, separator, value = part.partition(b"\r\n\r\n")
        if not separator:
            continue
        value = value.removesuffix(b"\r\n")
        said = _disposition(header)
        filename = said.get_filename()
        if filename is not None:
            name, content = filename, value
        else:
            field_name = said.get_param("name", header="content-disposition")
            fields[str(field_name)] = value.decode()
    return fields, name, content


def _disposition(header: bytes) -> Message:
    """Return the one header of a part that says what it is."""
    for line in header.decode(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return _header(name.strip(), value.strip())
    return Message()


def _header(name: str, value: str) -> Message:
    """Return a message of one header, which splits it without the grammar of a parser of mails."""
    message = Message()
    message[name] = value
    return message
