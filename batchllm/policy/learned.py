"""The findings of one run about a quota, which the next one starts from."""

from __future__ import annotations

from typing import Final

from attrs import frozen

__all__ = ["Learned"]

_MEMORY: Final = 86_400.0
"""Seconds after which what an earlier run learned is not trusted any more: quotas are often per
day, and accounts change tiers."""


@frozen(kw_only=True)
class Learned:
    """The findings of one run about a quota, from which the next may start.

    Attributes:
        rate: Calls per second that the server was measured to accept.
        age: Seconds since this was last confirmed.
    """

    rate: float
    age: float = 0.0

    @property
    def recent(self) -> bool:
        """Return whether it is recent enough to start from."""
        return self.age <= _MEMORY
