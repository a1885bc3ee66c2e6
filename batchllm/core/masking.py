"""Texts of errors made fit for results, files and logs: no key, a length, characters of Unicode.

A key is known by its shape, wherever it stands in a text.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MASK", "encodable", "mask_keys", "message_of"]

MASK: Final = "***"
"""Stands for a key in every text."""

_SHAPES: Final = re.compile(
    r"""
      (?<![A-Za-z0-9]) (?: sk | rk | pk ) - [A-Za-z0-9_-]{8,}   # OpenAI, Anthropic, OpenRouter
    | (?<![A-Za-z0-9]) gsk_ [A-Za-z0-9]{8,}                     # Groq
      # Cerebras, NVIDIA, Perplexity, xAI
    | (?<![A-Za-z0-9]) (?: csk | nvapi | pplx | xai ) - [A-Za-z0-9_-]{16,}
      # Fireworks, GitHub, Replicate, Together, and hf_ of a hub
    | (?<![A-Za-z0-9]) (?: fw | gh[opsu] | github_pat | hf | r8 | tgp_v1 ) _ [A-Za-z0-9_-]{16,}
    | (?<![A-Za-z0-9]) (?: AIza | AQ\. ) [A-Za-z0-9_-]{16,}      # Google
    | (?<![A-Za-z0-9]) ya29\. [A-Za-z0-9._-]{7,} [A-Za-z0-9_-]  # Google OAuth
    | (?<![A-Za-z0-9]) (?: AKIA | ASIA ) [A-Z0-9]{12,}          # AWS
    | (?<![A-Za-z0-9]) eyJ [A-Za-z0-9_-]{4,} \. [A-Za-z0-9_-]{4,} (?: \. [A-Za-z0-9_-]* )?  # JWT
    | (?i: (?<= bearer\  ) | (?<= basic\  ) ) [A-Za-z0-9._~+/=-]{8,}
    """,
    re.VERBOSE,
)


def mask_keys(text: str) -> str:
    """Return *text* with a mask for each part that has the shape of a key.

    The text of an error may come from anywhere: a user's own code that puts its settings into an
    exception, a server that repeats the request.
    """
    return _SHAPES.sub(MASK, text)


_MOST_LETTERS: Final = 10_000
"""Letters of an error's message that are kept, some pages; the exception has the rest. The search
for keys takes 0.4 µs a letter, and a page that a server sent may have a million."""
_BEYOND: Final = 200
"""Letters behind those that are searched all the same, so that no key is cut in two."""


def message_of(error: BaseException) -> str:
    """Return the message of *error*, which may be anyone's: without keys, and not without end.

    A broken ``__str__`` is said.
    """
    try:
        text = str(error)
    except Exception as broken:
        return f"(its message cannot be read: {type(broken).__name__})"
    if len(text) <= _MOST_LETTERS:
        return mask_keys(encodable(text))
    kept = mask_keys(encodable(text[: _MOST_LETTERS + _BEYOND]))[: _MOST_LETTERS - 1]
    return f"{kept}… ({len(text):,} characters)"


def encodable(text: str) -> str:
    r"""Return *text* with ``\udc80`` in place of half a surrogate pair, which no encoding carries.

    Names of files have such halves, if they are not in the encoding of the system.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
