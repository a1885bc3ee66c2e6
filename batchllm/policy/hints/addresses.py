"""The addresses of providers themselves, whose headers mean what their documentation says."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

__all__ = ["is_own_address"]

# A gateway, a proxy or a test server may use the same headers for windows of another length.
_HOSTS: Final = (
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "aiplatform.googleapis.com",
    "api.groq.com",
    "api.mistral.ai",
    "api.deepseek.com",
    "api.together.xyz",
    "api.together.ai",
    "openrouter.ai",
    "openai.azure.com",
    "cognitiveservices.azure.com",
    "services.ai.azure.com",
)


def is_own_address(base_url: str) -> bool:
    """Return whether *base_url* is a provider's own, where a limit without a period is a minute's.

    Args:
        base_url: As in ``QuotaScope.base_url``; empty for the provider's default is not known
            here and counts as not its own.
    """
    try:
        host = urlsplit(base_url if "//" in base_url else f"//{base_url}").hostname or ""
    except ValueError:
        return False
    return any(host == own or host.endswith((f".{own}", f"-{own}")) for own in _HOSTS)
