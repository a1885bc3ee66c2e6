"""Items that another part of the library hands over, looked up in the journal already.

A class of its own, so that nothing is guessed from the attributes of a user's items.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from batchllm.core import Termination

__all__ = ["PreparedItems"]


class PreparedItems:
    """The base of such items: an asynchronous iterable of ``Incoming``, in any order.

    Attributes:
        termination: Why there are no more of them, if there are some that have not come.
        numbers: What becomes of them outside the engine, for ``stats``.
    """

    termination: Termination | None = None
    numbers: Mapping[str, int] = MappingProxyType({})
