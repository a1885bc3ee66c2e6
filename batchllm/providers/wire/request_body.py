"""The bytes of a request, and what is refused before they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from batchllm.core import check_sendable

__all__ = ["encode"]

_ENCODER: Final = msgspec.json.Encoder()


def encode(request: Mapping[str, Any]) -> bytes:
    """Write *request* as JSON.

    Raises:
        InvalidItemError: A text in it cannot be encoded, or a number is not finite.
        TypeError: A value in it has no form in JSON.
    """
    check_sendable(request)
    return _ENCODER.encode(request)
