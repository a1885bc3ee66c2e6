"""The mask for what looks like a provider's key, wherever it stands in a text."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MASK", "mask_keys"]

MASK: Final = "***"
"""Stands for a key in every text."""

_SHAPES: Final = re.compile(
    r"""
      (?<![A-Za-z0-9]) (?: sk | rk | pk ) - [A-Za-z0-9_-]{8,}   # OpenAI, Anthropic, OpenRouter
    | (?<![A-Za-z0-9]) gsk_ [A-Za-z0-9]{8,}                     # Groq
      # Cerebras, NVIDIA, Perplexity, xAI
    | (?<![A-Za-z0-9]) (?: csk | nvapi | pplx | xai ) - [A-Za-z0-9_-]{16,}
      # Fireworks, GitHub Models, Hugging Face, Replicate, Together
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
