"""Packages whose names are imported when they are first used.

Most of what is here no single program needs, and each class takes half a millisecond to make. So
a package that has much says in a table which of its files has which name, and a file is loaded
with its first name. Type checkers read plain imports in its place, which a test holds to the table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["on_demand"]


def on_demand(
    package: str, files: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for the ``__init__`` of a package.

    Example::

        if TYPE_CHECKING:
            from batchllm.simulator.pipe import open_pipes
        else:
            __getattr__, __dir__ = on_demand(
                __name__, {"batchllm.simulator.pipe": "open_pipes"}
            )

    Args:
        package: Its ``__name__``.
        files: The names that are to be had from each of its files or folders, with spaces
            between. A file of its own can be had as an attribute, too.
    """
    homes = {name: file for file, names in files.items() for name in names.split()}

    def find(name: str) -> Any:
        if name in homes:
            value = getattr(import_module(homes[name]), name)
            setattr(sys.modules[package], name, value)
            return value
        if f"{package}.{name}" in files:
            return import_module(f"{package}.{name}")
        msg = f"module {package!r} has no attribute {name!r}"
        raise AttributeError(msg)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return find, names
