"""Ray and Arrow, which an extra brings: loaded when they are used, and not before."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["load_arrow", "load_parquet", "load_ray"]

_INSTALL = 'install it by: pip install "batchllm[ray]"'


def load_ray() -> Any:
    """Return the module ``ray``, with ``ray.data``.

    Raises:
        ImportError: It is not installed; the message has the line that installs it.
    """
    try:
        import_module("ray.data")
    except ImportError as error:
        msg = f"batchllm.ray needs Ray and its library for data; {_INSTALL}"
        raise ImportError(msg) from error
    return import_module("ray")


def load_arrow() -> Any:
    """Return the module ``pyarrow``.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return import_module("pyarrow")
    except ImportError as error:
        msg = f"the rows of a dataset are tables of pyarrow; {_INSTALL}"
        raise ImportError(msg) from error


def load_parquet() -> Any:
    """Return the module ``pyarrow.parquet``.

    Raises:
        ImportError: pyarrow is not installed.
    """
    load_arrow()
    return import_module("pyarrow.parquet")
