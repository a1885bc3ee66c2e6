"""Takes keys out of texts before anyone reads them."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from attrs import field, frozen

from batchllm.core import MASK, mask_keys
from batchllm.transport.secret import Secret

__all__ = ["Cleaner", "Redactor", "printable", "redact"]

# Shorter ones ("none", "ollama") are placeholders, and would take plain words out of messages.
_SHORTEST_SECRET: Final = 8


def _spellings(secrets: Iterable[Secret]) -> tuple[str, ...]:
    found: set[str] = set()
    for secret in secrets:
        plain = secret.reveal()
        if len(plain) < _SHORTEST_SECRET or not plain.strip("*"):
            continue
        raw = plain.encode("utf-8", "surrogatepass")
        found |= {
            plain,
            plain.replace("/", "\\/"),  # as some servers write JSON
            quote(raw, safe=""),
            base64.b64encode(raw).decode().rstrip("="),
            base64.urlsafe_b64encode(raw).decode().rstrip("="),
        }
    return tuple(sorted(found, key=len, reverse=True))


@frozen
class Redactor:
    """Masks known secrets, and whatever looks like a provider's key.

    Args:
        secrets: Masked wherever they occur: as they are, URL-encoded and in base64.
    """

    _known: tuple[str, ...] = field(default=(), converter=_spellings, repr=False, alias="secrets")

    @property
    def known(self) -> tuple[str, ...]:
        """The spellings of the known secrets, longest first."""
        return self._known

    def __call__(self, text: str) -> str:
        """*text* without keys. Any text is accepted, and one without keys comes back as it is."""
        while True:
            # What a mask joins may spell a secret anew, so pass until nothing is left; each
            # pass that changes anything makes the text shorter.
            cleaned = text
            for secret in self._known:
                cleaned = cleaned.replace(secret, MASK)
            cleaned = mask_keys(cleaned)
            if cleaned == text:
                return text
            text = cleaned


def printable(text: str) -> str:
    """Return *text* with a space for each character that would steer a terminal or forge a line.

    Those are the control and format characters, among them escape sequences, line ends and marks
    that turn the direction of writing round.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else " " for one in text)


@frozen
class Cleaner:
    """Makes what a server says fit for an error, a log or a terminal.

    Args:
        secrets: See ``Redactor``.
    """

    _redactor: Redactor = field(converter=Redactor, alias="secrets", repr=False)
    _needles: tuple[bytes, ...] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        needles = tuple(text.encode("utf-8", "surrogatepass") for text in self._redactor.known)
        object.__setattr__(self, "_needles", needles)

    def body(self, body: bytes) -> bytes:
        """Return *body* without known keys, which some servers repeat in what they refuse.

        It is what every reply goes through, so a key that was echoed stands in no variable above.
        A search takes some 0.1 µs per kB and spelling.
        """
        for needle in self._needles:
            if needle in body:
                body = body.replace(needle, MASK.encode())
        return body

    def headers(self, headers: dict[str, str]) -> dict[str, str]:
        """Return the *headers* of a reply without known keys, and without control characters."""
        together = "".join(headers.values())
        if together.isascii() and together.isprintable():
            known = self._redactor.known
            if not any(secret in together for secret in known):
                return headers
        return {name: self(value) for name, value in headers.items()}

    def __call__(self, text: str) -> str:
        """Return *text* without keys and without control characters."""
        # Twice, since a control character may stand within a key, or take the place of one.
        return self._redactor(printable(self._redactor(text)))

    def shows_key(self, text: str) -> bool:
        """Return whether *text* has a key in it."""
        return self._redactor(text) != text


redact = Redactor()
"""Masks what looks like a key, where no secret is known."""
