"""Takes keys out of texts before anyone reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from attrs import field, frozen

from batchllm.core import mask_keys
from batchllm.transport.secret import Secret
from batchllm.transport.spellings import Spellings

__all__ = ["Cleaner", "Redactor", "beginning", "printable", "redact"]

# Shorter ones ("none", "ollama") are placeholders, and would take plain words out of messages.
_SHORTEST_SECRET: Final = 8
_SHOWN: Final = 80
"""Characters of a body in a message: the beginning of an HTML page, or of a gateway's words."""
_SEARCHED: Final = 8_192
"""Characters that are searched for keys before that, so that a key which begins in what is shown is
whole in it; tokens of some kB exist."""


def _listed(secrets: Iterable[Secret]) -> tuple[Secret, ...]:
    return tuple(secrets)


@frozen
class Redactor:
    """Masks known secrets, and whatever looks like a provider's key.

    Args:
        secrets: Masked wherever they occur, as they are or encoded; see ``Spellings``.
    """

    _secrets: Iterable[Secret] = field(default=(), converter=_listed, repr=False, alias="secrets")
    known: Spellings = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        # Once, since each text is searched for them.
        plain = (secret.reveal() for secret in self._secrets)
        known = (one for one in plain if len(one) >= _SHORTEST_SECRET and one.strip("*"))
        object.__setattr__(self, "known", Spellings.of(known))

    def __call__(self, text: str) -> str:
        """*text* without keys. Any text is accepted, and one without keys comes back as it is."""
        while True:
            # What a mask joins may spell a secret anew, so pass until nothing is left; each
            # pass that changes anything makes the text shorter.
            cleaned = mask_keys(self.known.masked(text))
            if cleaned == text:
                return text
            text = cleaned


def beginning(body: bytes | str, redact: Callable[[str], str]) -> str:
    """Return what a *body* that cannot be read begins with, for a message.

    Keys are masked before it is cut, since half of one is not known for one.
    """
    start = body[:_SEARCHED]
    text = start if isinstance(start, str) else start.decode("utf-8", "replace")
    return redact(text.strip())[:_SHOWN]


def printable(text: str) -> str:
    """Return *text* with a space for each character that would steer a terminal or forge a line.

    Those are the control and format characters, among them escape sequences, line ends and marks
    that turn the direction of writing round.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else " " for one in text)


# What is no printable ASCII becomes a zero. For a kilobyte ``isprintable`` takes twice as long.
_PLAIN: Final = bytes(code if 32 <= code < 127 else 0 for code in range(256))


def _is_plain(text: str) -> bool:
    """Return whether *text* is printable ASCII."""
    return text.isascii() and b"\0" not in text.encode("ascii").translate(_PLAIN)


@frozen
class Cleaner:
    """Makes what a server says fit for an error, a log or a terminal.

    Args:
        secrets: See ``Redactor``.
    """

    _redactor: Redactor = field(converter=Redactor, alias="secrets", repr=False)

    def body(self, body: bytes) -> bytes:
        """Return *body* without known keys, which some servers repeat in what they refuse.

        It is what every reply goes through, so a key that was echoed stands in no variable above.
        """
        return self._redactor.known.masked_bytes(body)

    def headers(self, headers: dict[str, str]) -> dict[str, str]:
        """Return the *headers* of a reply without known keys, and without control characters."""
        together = "".join(headers.values())
        if _is_plain(together) and not self._redactor.known.are_in(together):
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
