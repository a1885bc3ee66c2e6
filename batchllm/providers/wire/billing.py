"""Tokens of an attempt that was answered and failed all the same."""

from __future__ import annotations

from batchllm.core import TokenTrackingError, TokenUsage

__all__ = ["attach_usage"]


def attach_usage(error: Exception, usage: TokenUsage | None) -> None:
    """Have *error*, which is about to be raised again, carry the tokens that it cost.

    Raises:
        TokenTrackingError: *error* cannot carry them; this one does, and names it as its cause.
    """
    if usage is None:
        return
    try:
        error._failed_token_usage = usage  # type: ignore[attr-defined]
    except AttributeError:
        msg = f"{type(error).__name__}: {error}"
        raise TokenTrackingError(msg, token_usage=usage) from error
