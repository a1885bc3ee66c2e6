"""A key that no message, log, record or pickle shows."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, final

from batchllm.core import MASK, ConfigError, kind_of

__all__ = ["Secret"]


@final
class Secret:
    """Holds a key; shown anywhere, it reads ``***``. Only :meth:`reveal` gives it away.

    Args:
        value: The key.
        again: Reads the key anew in another process, which a pickle of it goes to: the key is
            never in one. Without it a key cannot be pickled.
    """

    __slots__ = ("_again", "_prefix", "_value")
    _again: Callable[[], Secret] | None
    _prefix: str
    _value: str

    def __init__(self, value: str | Secret, again: Callable[[], Secret] | None = None) -> None:
        if isinstance(value, Secret):
            self._value, self._prefix = value._value, value._prefix
            self._again = again or value._again
        else:
            if not isinstance(value, str):
                msg = f"a key, or the value of a header, is {kind_of(value)}; give it as a text"
                raise ConfigError(msg)
            self._value, self._prefix, self._again = value.strip(), "", again

    @property
    def can_be_read_again(self) -> bool:
        """Return whether it can be pickled."""
        return self._again is not None

    def reveal(self) -> str:
        """The key itself, for the one header that carries it."""
        return self._value

    def after(self, prefix: str) -> Secret:
        """Return *prefix* and the key as one secret, as a header has them."""
        other = Secret(prefix + self._value, self._again)
        other._prefix = prefix + self._prefix
        return other

    def fingerprint(self) -> str:
        """Return eight hexadecimal digits that distinguish accounts and do not reveal the key."""
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

    def __reduce__(self) -> tuple[Any, ...]:
        if self._again is None:
            msg = (
                "a key cannot be pickled; give it again where it is needed, e.g. by the environment"
            )
            raise TypeError(msg)
        return _read_again, (self._again, self._prefix)


def _read_again(again: Callable[[], Secret], prefix: str) -> Secret:
    return again().after(prefix) if prefix else again()
