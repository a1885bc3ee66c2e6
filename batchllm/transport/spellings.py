"""The ways in which a secret may be spelled: a server may repeat a request in any encoding.

A key of letters, digits, dots, dashes and underscores alone, as most are, is looked for as a plain
text. Any other character of a key may stand in its place percent-encoded, as JSON or HTML escapes
it, or as it is, so a key that has some is looked for by a pattern.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from attrs import frozen

from batchllm.core import MASK

__all__ = ["Spellings"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]+")
_ENTITIES: Final = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_MASK: Final = MASK.encode()


@frozen
class Spellings:
    """Finds secrets in texts and bytes.

    Attributes:
        texts: Spellings that are looked for as they are, longest first.
        needles: Those of them that are looked for in bytes. Every reply is searched for them, a
            microsecond for each, so base64 of more than the secret is left to the texts of errors.
        pattern: What matches all others; ``None`` if there are none.
        pattern_of_bytes: The same for bytes.
    """

    texts: tuple[str, ...]
    needles: tuple[bytes, ...]
    pattern: re.Pattern[str] | None
    pattern_of_bytes: re.Pattern[bytes] | None

    @classmethod
    def of(cls, secrets: Iterable[str]) -> Spellings:
        """Return the spellings of *secrets*: as they are, escaped, and in base64."""
        plain, alone, within = set[str](), set[str](), set[str]()
        patterns: set[str] = set()
        for secret in secrets:
            raw = secret.encode("utf-8", "surrogatepass")
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                alone.add(encode(raw).decode().rstrip("="))
                within.update(_within_base64(raw, encode))
            if _PLAIN.fullmatch(secret):
                plain.add(secret)
            else:
                patterns.add("".join(map(_pattern_of, secret)))
        by_length = _longest_first(plain | alone | within)
        needles = tuple(text.encode() for text in _longest_first(plain | alone))
        if not patterns:
            return cls(by_length, needles, None, None)
        pattern = "|".join(_longest_first(patterns))
        in_bytes = pattern.encode("utf-8", "surrogatepass")
        return cls(by_length, needles, re.compile(pattern), re.compile(in_bytes))

    def masked(self, text: str) -> str:
        """Return *text* with a mask in place of each."""
        if self.pattern is not None:
            text = self.pattern.sub(MASK, text)
        for secret in self.texts:
            text = text.replace(secret, MASK)
        return text

    def masked_bytes(self, body: bytes) -> bytes:
        """Return *body* with a mask in place of each."""
        if self.pattern_of_bytes is not None:
            body = self.pattern_of_bytes.sub(_MASK, body)
        for needle in self.needles:
            if needle in body:
                body = body.replace(needle, _MASK)
        return body

    def are_in(self, text: str) -> bool:
        """Return whether *text* has one of them in it."""
        if self.pattern is not None and self.pattern.search(text):
            return True
        for secret in self.texts:  # noqa: SIM110 - each reply is asked, and a generator costs more
            if secret in text:
                return True
        return False


def _longest_first(texts: Iterable[str]) -> tuple[str, ...]:
    """Sort *texts* so that none comes before another of which it is a part."""
    return tuple(sorted(texts, key=len, reverse=True))


def _within_base64(raw: bytes, encode: Callable[[bytes], bytes]) -> Iterator[str]:
    """Give the characters that stand for *raw* alone, whatever is encoded before and behind it.

    Three bytes are four characters, so they depend on how many bytes come before. Those at the
    edges, which also stand for bits of a neighbour, are left out.
    """
    for before, shared in ((0, 0), (1, 2), (2, 3)):
        bits = 8 * (before + len(raw))
        yield encode(bytes(before) + raw).decode()[shared : bits // 6]


def _pattern_of(one: str) -> str:
    """Return a pattern for a character of a secret in any of its encodings."""
    if _PLAIN.fullmatch(one):
        return re.escape(one)
    code, raw = ord(one), one.encode("utf-8", "surrogatepass")
    # A percent sign may be encoded in turn, as may the backslash of JSON within JSON.
    ways = ["".join(rf"%(?:25)*{_hex(f'{byte:02x}')}" for byte in raw)]
    ways.append(rf"\\{{1,8}}u{_hex(f'{code:04x}')}")
    ways.append(rf"&\#(?:0*{code}|[xX]0*{_hex(f'{code:x}')});")
    if one in _ENTITIES:
        ways.append(f"&{_ENTITIES[one]};")
    ways.append(r"\\{1,8}" if one == "\\" else rf"\\{{0,8}}{re.escape(one)}")
    return f"(?:{'|'.join(ways)})"


def _hex(digits: str) -> str:
    """Return a pattern for hexadecimal digits in either case."""
    return "".join(f"[{one}{one.upper()}]" if one.isalpha() else one for one in digits)
