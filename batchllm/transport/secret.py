"""A key that no message, log, record or pickle shows."""

from __future__ import annotations

import hashlib
import hmac
from typing import NoReturn, final

__all__ = ["MASK", "Secret"]

MASK = "***"


@final
class Secret:
    """Holds a key; shown anywhere, it reads ``***``. Only :meth:`reveal` gives it away."""

    __slots__ = ("_value",)

    def __init__(self, value: str | Secret) -> None:
        self._value = value.reveal() if isinstance(value, Secret) else value.strip()

    def reveal(self) -> str:
        """The key itself, for the one header that carries it."""
        return self._value

    def after(self, prefix: str) -> Secret:
        """Return *prefix* and the key as one secret, as a header has them."""
        return Secret(prefix + self._value)

    def fingerprint(self) -> str:
        """Eight hexadecimal digits that tell accounts apart and do not lead back to the key."""
        digest = hmac.new(b"batchllm account", self._value.encode(), hashlib.sha256)
        return digest.hexdigest()[:8]

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __reduce__(self) -> NoReturn:
        msg = "a key cannot be pickled; give it again where it is needed, e.g. by the environment"
        raise TypeError(msg)
