"""The keys of the LiteLLM gateway and their limits; only LiteLLM imports this file."""

from fastapi import Request
from litellm.proxy._types import ProxyException, UserAPIKeyAuth

LIMITS: dict[str, dict[str, int]] = {
    "sk-free": {},
    "sk-rpm30": {"rpm_limit": 30},
    "sk-tpm3000": {"tpm_limit": 3000},
    "sk-par4": {"max_parallel_requests": 4},
}


async def check_key(request: Request, api_key: str) -> UserAPIKeyAuth:
    """Return who *api_key* is, with its limits; LiteLLM's own limiter enforces them."""
    key = api_key.removeprefix("Bearer ")
    if key == "sk-master":
        return UserAPIKeyAuth(api_key=key, user_role="proxy_admin")
    if key not in LIMITS:
        raise ProxyException(message="unknown key", type="auth_error", param=None, code=401)
    return UserAPIKeyAuth(api_key=key, user_id=key, **LIMITS[key])
